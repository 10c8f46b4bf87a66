"""What `backends` does for REST, over gRPC: a stand-in for a predictor's own server, and its callers."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
CODES = {
    200: grpc.StatusCode.OK,
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
STATUSES = {code: status for status, code in CODES.items()}
_LARGE = [("grpc.max_receive_message_length", 10 * 1024 * 1024), ("grpc.so_reuseport", 0)]


class GrpcSide:
    """Answers each call of the service as its backend does over REST, unless it has a `code` of its own.

    `early` sends headers before the status, as a server may; a proxy then knows of the error when it is too late.
    """

    def __init__(self, backend):
        self._backend, self.code, self.early = backend, None, False
        self._server = grpc.server(ThreadPoolExecutor(200), options=_LARGE)
        names = ("ModelInfer", "ServerLive")
        calls = {name: grpc.unary_unary_rpc_method_handler(self._answer) for name in names}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _answer(self, data, context):
        got = {"name": self._backend.name, **dict(context.invocation_metadata())}
        self._backend.got.append(got)
        self._backend.going.wait(30)
        if self.early:
            context.send_initial_metadata(())
        code = self.code or CODES[self._backend.status]
        if code is not grpc.StatusCode.OK:
            context.abort(code, "as the test wants it")
        return json.dumps(got).encode()

    def close(self):
        """End it at once."""
        self._server.stop(None).wait()


class GrpcCaller:
    """A caller with one channel to a router."""

    def __init__(self, router):
        self._channel = grpc.insecure_channel(router.address().removeprefix("http://"))

    def call(self, name, body=b"{}", path=INFER, timeout=10, compression=None, **headers):
        """The code's name, and the answer, or the text of the error."""
        metadata = [("x-request-id", name), *((key.replace("_", "-"), value) for key, value in headers.items())]
        try:
            said = self._channel.unary_unary(path)(body, metadata=metadata, timeout=timeout, compression=compression)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", json.loads(said)

    def ask(self, name, body=b"{}", **headers):
        """The same with the status that REST would have, as `backends.ask` says it."""
        code, said = self.call(name, body, **headers)
        return STATUSES[grpc.StatusCode[code]], said if code == "OK" else {}

    def close(self):
        """Hang up."""
        self._channel.close()
