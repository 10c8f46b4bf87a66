"""What a caller did wrong, or what could not be answered, each with its HTTP status and its gRPC code."""

from __future__ import annotations

from mainspring.domain.errors import MainspringError


class RequestError(MainspringError):
    """A request that is not answered. `where` names the field, `valid` what would have been accepted."""

    status = 400
    grpc_code = "INVALID_ARGUMENT"

    @property
    def text(self) -> str:
        """The message on one line, as callers get it."""
        parts = [self.what if not self.where else f"{self.where}: {self.what}"]
        if self.valid:
            parts.append(f"valid: {self.valid}")
        return "; ".join(parts)


class UnknownModel(RequestError):
    """No model of that name or version is served here."""

    status = 404
    grpc_code = "NOT_FOUND"


class WrongMethod(RequestError):
    """The path exists, the method does not."""

    status = 405


class TooLarge(RequestError):
    """More bytes or rows than the predictor takes."""

    status = 413
    grpc_code = "RESOURCE_EXHAUSTED"


class TooSlow(RequestError):
    """A request that was begun and did not end."""

    status = 408


class HeadersTooLarge(RequestError):
    """More bytes of headers than the predictor reads."""

    status = 431


class WrongContentType(RequestError):
    """A body that is no JSON."""

    status = 415


class Unanswerable(RequestError):
    """A well-formed request whose features are missing, by the project's policy or because the model cannot do without."""

    status = 422
    grpc_code = "FAILED_PRECONDITION"


class StoreAway(RequestError):
    """The online store did not answer, and the project's policy is to refuse then."""

    status = 503
    grpc_code = "UNAVAILABLE"


class ModelFailed(RequestError):
    """The model raised, or gave something that is no number."""

    status = 500
    grpc_code = "INTERNAL"


class LogFailed(RequestError):
    """The answer could not be logged, and the project says that then there is none."""

    status = 503
    grpc_code = "UNAVAILABLE"


class NotReady(RequestError):
    """Starting, or ending."""

    status = 503
    grpc_code = "UNAVAILABLE"
