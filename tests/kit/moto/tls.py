"""Serves over TLS, on a free port, what the port UPSTREAM serves without: with a
certificate for 127.0.0.1 by a CA of its own, which it writes to the file CA. It says
its port, and ends with its standard input.
"""

import asyncio
import os
import ssl
import sys
import tempfile
import threading

ca_key, key = new_key(), new_key()
with open(CA, "wb") as file:
    file.write(certificate("test CA", ca_key, "test CA", ca_key, IS_CA))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as file:
    file.write(certificate("server", key, "test CA", ca_key, HERE))
    file.write(key_pem(key))
    file.flush()
    context.load_cert_chain(file.name)


async def copy(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    upstream, downstream = await asyncio.open_connection("127.0.0.1", UPSTREAM)
    await asyncio.gather(copy(reader, downstream), copy(upstream, writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(main())
