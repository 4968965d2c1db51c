"""Reads a secret with nothing but server reflection: explore.py SOCKET NAME."""
import sys
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    reflection = ProtoReflectionDescriptorDatabase(channel)
    for name in sorted(reflection.get_services()):
        print("service", name)
    pool = DescriptorPool(reflection)
    print("details", *pool.FindMessageTypeByName("google.rpc.ErrorInfo").fields_by_name)
    service = pool.FindServiceByName("strongroom.v1.Strongroom")
    for method in service.methods:
        print("method", method.name, method.input_type.name, method.output_type.name)

    get = service.methods_by_name["Get"]
    request, response = GetMessageClass(get.input_type), GetMessageClass(get.output_type)
    call = channel.unary_unary(
        f"/{service.full_name}/{get.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    print("value", call(request(name=sys.argv[2]), timeout=20).value.decode())
