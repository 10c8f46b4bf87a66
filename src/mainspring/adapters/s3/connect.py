"""An S3 as Arrow's file system, and what it says when it refuses, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mainspring.domain.errors import ConfigError, MainspringError, NotFound, TemporaryError

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

    from mainspring.settings.storage import S3Settings

_UNKNOWN = ("INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT", "INVALID_CLIENT_TOKEN_ID")
_REFUSED = ("ACCESS_DENIED", "HTTP status 403")


def filesystem(settings: S3Settings, *, tries: int) -> S3FileSystem:
    """The file system; nothing is asked yet. Paths are `bucket/key`. Each question is asked so many times before it fails."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    seconds = settings.timeout.total_seconds()
    return S3FileSystem(
        access_key=settings.access_key,
        secret_key=settings.secret,
        session_token=settings.token,
        region=settings.region,
        endpoint_override=settings.endpoint,
        connect_timeout=min(seconds, 5.0),
        request_timeout=seconds,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=tries),
        # A small file is one PUT, not three requests of which a killed process leaves the first behind.
        allow_delayed_open=True,
        # A bucket is never made by the way: who misspells one is told.
        allow_bucket_creation=False,
    )


@contextmanager
def asking(url: str, where: str, *, to: str = "read") -> Iterator[None]:
    """What S3 or its client says in here is said in words. `to` is what was about to be done.

    Errors: `NotFound` without the bucket, `ConfigError` without the rights or with keys that nobody knows, `TemporaryError`
    when it does not answer.
    """
    try:
        yield
    except MainspringError:
        raise
    except OSError as error:
        raise in_words(error, url, where, to) from error


def in_words(error: OSError, url: str, where: str, to: str) -> MainspringError:
    """The error as a person should read it."""
    said, place = str(error), f"{where}: {url}"
    bucket = url.removeprefix("s3://").partition("/")[0]
    if isinstance(error, FileNotFoundError):
        return NotFound("there is no such object", where=place)
    if "NO_SUCH_BUCKET" in said:
        return NotFound(
            f"there is no bucket {bucket!r}",
            where=place,
            next_step="make it, or correct the URL, the endpoint or the region",
        )
    if any(one in said for one in _UNKNOWN):
        return ConfigError(
            "S3 does not know these keys",
            where=place,
            valid="access_key and secret of `s3:` in mainspring.yaml, or what the AWS SDK finds",
        )
    if any(one in said for one in _REFUSED):
        return ConfigError(
            f"S3 refuses to {to} in the bucket {bucket!r}: these keys have no right to, or are not known",
            where=place,
            next_step="grant it (s3:ListBucket, GetObject, and for a sink PutObject, DeleteObject)",
        )
    what = "S3 does not answer" if "NETWORK_CONNECTION" in said or "curlCode" in said else "S3 failed"
    return TemporaryError(f"{what}: {_last(said)}", where=place, next_step="mainspring doctor, once it runs again")


def _last(said: str) -> str:
    """What the client says at the end, without its request's id."""
    return said.partition("AWS Error ")[2].partition(" (Request ID")[0] or said.splitlines()[0]
