"""Puts, gets, renders, handles an error by its reason, watches a change: tour.py SOCKET.

Values come on standard input, a line each; what happened goes to standard output.
"""
import sys
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

protos, services = grpc.protos_and_services("strongroom/v1/strongroom.proto")
SOCKET = "unix:" + sys.argv[1]
FIRST, SECOND = (line.rstrip(b"\n") for line in sys.stdin.buffer)


def reason_of(error):
    """What a program acts on: the reason of google.rpc.ErrorInfo."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "strongroom":
            return info.reason
    return None


def must_fail(call, request):
    try:
        call(request, timeout=20)
    except grpc.RpcError as error:
        return error
    sys.exit("it did not fail")


with grpc.insecure_channel(SOCKET) as channel:
    sidecar = services.StrongroomStub(channel)

    put = sidecar.Put(protos.PutRequest(name="account.python", value=FIRST, if_absent=True))
    got = sidecar.Get(protos.GetRequest(name="account.python"))
    if (got.value, got.version) != (FIRST, put.version):
        sys.exit("another secret came back")
    print("put and got version", put.version)

    template = b'<<+secrets.getValue("account.python")>>'
    rendered = sidecar.Render(protos.RenderRequest(template=template))
    if rendered.text != b"<" + FIRST + b">":
        sys.exit("another text was rendered")
    print("rendered")

    missing = must_fail(sidecar.Get, protos.GetRequest(name="account.missing"))
    print("missing:", missing.code().name, reason_of(missing))
    again = must_fail(sidecar.Put, protos.PutRequest(name="account.python", if_absent=True))
    print("again:", again.code().name, reason_of(again))

    changes = sidecar.Watch(protos.WatchRequest(names=["account.python"]), timeout=20)
    for change in changes:
        print("watched:", protos.Change.Name(change.change), change.version)
        if change.change == protos.CHANGE_SYNCED:
            sidecar.Put(protos.PutRequest(name="account.python", value=SECOND))
        if change.change == protos.CHANGE_PUT:
            break
    changes.cancel()

# What other clients call the server: the path as it is (grpc-java), escaped
# (grpc-core, grpc-swift), or a host.
for authority in ["localhost", "/run/sidecar.sock", "%2Frun%2Fsidecar.sock", "run%2Fsidecar.sock"]:
    with grpc.insecure_channel(SOCKET, [("grpc.default_authority", authority)]) as channel:
        for _ in range(2):
            services.StrongroomStub(channel).Check(protos.CheckRequest(), timeout=20)
    print("called as", authority)
