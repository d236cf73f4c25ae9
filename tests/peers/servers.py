"""Real gRPC servers for tests/peers: grpcio with its own health and reflection services, and grpc-helper.

The first line of output is the port. Each line of input is a command; each command is answered by a line.

    health [gzip|deflate|none] [TOKEN]   set SERVICE STATUS: changes the status of a health service
                                         seen: how many calls came with the token, and how many without
    helper                               a server of grpc-helper
    gribi                                Get of gRIBI: two messages with three entries, or INTERNAL for the instance "none";
                                         calls: the requests so far, in hexadecimal digits
"""

import concurrent.futures
import pathlib
import sys
import tempfile


def say(text):
    print(text, flush=True)


def health(compression, token):
    import grpc
    from grpc_health.v1 import health as of_health
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    seen = {True: 0, False: 0}

    class Guard(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            given = dict(details.invocation_metadata).get("authorization")
            seen[given == token] += 1
            if given == token:
                return continuation(details)

            def refuse(_, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

            return grpc.unary_unary_rpc_method_handler(refuse)

    kinds = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate, "none": None}
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=16),
        interceptors=[Guard()] if token else [],
        compression=kinds[compression],
    )
    servicer = of_health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = ["grpc.health.v1.Health", reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    for service in ["", "db"]:
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    say(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    for line in sys.stdin:
        words = line.rstrip("\n").split(" ")
        if words[0] == "set":
            servicer.set(words[1], health_pb2.HealthCheckResponse.ServingStatus.Value(words[2]))
            say("ok")
        else:
            say(f"{seen[True]} {seen[False]}")


def helper():
    import socket

    from grpc_helper import Folders, RpcServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        RpcServer(port, [], Folders(system=root, workspace=root, user=root), with_debug_signal=False)
        say(port)
        for _ in sys.stdin:
            say("ok")


def field(number, value):
    """A field of a message: a number, or bytes of up to 127 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def gribi():
    import grpc

    calls = []

    def entry(instance, kind, rib, fib):
        return field(1, field(1, instance) + field(kind, b"key") + field(11, rib) + field(12, fib))

    def get(request, context):
        calls.append(request.hex())
        if request.startswith(field(1, b"none")):
            context.abort(grpc.StatusCode.INTERNAL, "no such network instance")
        yield entry(b"DEFAULT", 4, 1, 1) + entry(b"DEFAULT", 4, 1, 2)
        yield entry(b"VRF-1", 8, 0, 0)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
    handlers = {"Get": grpc.unary_stream_rpc_method_handler(get)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("gribi.gRIBI", handlers)])
    say(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    for _ in sys.stdin:
        say(" ".join(calls))


if __name__ == "__main__":
    arguments = sys.argv[2:]
    if sys.argv[1] == "health":
        health(arguments[0] if arguments else "none", arguments[1] if len(arguments) > 1 else "")
    elif sys.argv[1] == "gribi":
        gribi()
    else:
        helper()
