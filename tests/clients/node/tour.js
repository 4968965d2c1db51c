// Puts, gets, handles an error by its reason, watches a change:
// tour.js PROTO_FOLDER SOCKET. Values come on standard input, a line each.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const [folder, socket] = process.argv.slice(2);
const [first, second] = fs.readFileSync(0).toString().split('\n').map((line) => Buffer.from(line));

const protocol = loader.loadSync('strongroom/v1/strongroom.proto', {
  includeDirs: [folder],
  keepCase: true,
  enums: String,
});
const { Strongroom } = grpc.loadPackageDefinition(protocol).strongroom.v1;
const sidecar = new Strongroom(`unix:${socket}`, grpc.credentials.createInsecure());
const call = (method, request) =>
  promisify(sidecar[method].bind(sidecar))(request, { deadline: Date.now() + 20_000 });

// What a program acts on: the reason of google.rpc.ErrorInfo.
const errors = protobuf.loadSync(path.join(__dirname, 'errors.proto'));
function reasonOf(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  for (const detail of errors.lookupType('google.rpc.Status').decode(bytes).details) {
    if (detail.type_url.endsWith('/google.rpc.ErrorInfo')) {
      const info = errors.lookupType('google.rpc.ErrorInfo').decode(detail.value);
      if (info.domain === 'strongroom') return info.reason;
    }
  }
  return null;
}

async function mustFail(method, request) {
  try {
    await call(method, request);
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

async function main() {
  const put = await call('Put', { name: 'account.node', value: first, if_absent: true });
  const got = await call('Get', { name: 'account.node' });
  if (!got.value.equals(first) || got.version !== put.version) {
    throw new Error('another secret came back');
  }
  console.log(`put and got version ${put.version}`);

  const missing = await mustFail('Get', { name: 'account.missing' });
  console.log(`missing: ${grpc.status[missing.code]} ${reasonOf(missing)}`);
  const again = await mustFail('Put', { name: 'account.node', if_absent: true });
  console.log(`again: ${grpc.status[again.code]} ${reasonOf(again)}`);

  const changes = sidecar.Watch({ names: ['account.node'] }, { deadline: Date.now() + 20_000 });
  // Of what is cancelled the end is told, too.
  changes.on('error', () => {});
  for await (const change of changes) {
    console.log(`watched: ${change.change} ${change.version || ''}`.trimEnd());
    if (change.change === 'CHANGE_SYNCED') {
      await call('Put', { name: 'account.node', value: second });
    }
    if (change.change === 'CHANGE_PUT') break;
  }
  changes.cancel();
  sidecar.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
