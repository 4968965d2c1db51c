"""Reads one secret: read.py SOCKET NAME, with the .proto file's folder on PYTHONPATH."""
import sys
import grpc

protos, services = grpc.protos_and_services("strongroom/v1/strongroom.proto")
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    secret = services.StrongroomStub(channel).Get(protos.GetRequest(name=sys.argv[2]))
sys.stdout.buffer.write(secret.value)
