"""The key of the prediction log's hashes, from the project's secret or a file that only this user reads; and the
`Concealment` that it makes for whoever writes to the log."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import ConfigError
from mainspring.settings.keeping import LogSettings
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

VARIABLE = "MAINSPRING_LOG_SECRET"
"""By which a predictor is told the secret: what stands in a file would outlive the process."""
_BYTES = 32


def concealment(settings: ProjectSettings, paths: ProjectPaths) -> Concealment | None:
    """What of a row the project's log does not get to see; None where it sees everything. Errors: those of `log_key`."""
    drop, hashed = settings.concealed
    return Concealment(drop, hashed, log_key(settings.log, paths)) if drop or hashed else None


def log_key(settings: LogSettings, paths: ProjectPaths) -> bytes:
    """The key; without a secret it is made when it is first asked for. The same one for every process that asks.

    Errors: `ConfigError` when others can read the file, or it holds no key.
    """
    if settings.secret is not None:
        return _of(settings.secret)
    _make(paths.log_key)
    return _read(paths.log_key)


def key_file(settings: LogSettings, paths: ProjectPaths) -> str:
    """The file that a predictor reads the key from, "" where it gets the secret by `VARIABLE`."""
    return "" if settings.secret is not None else str(paths.log_key.resolve())


def environment(settings: LogSettings) -> dict[str, str]:
    """A predictor's environment: this process's, and the secret where there is one."""
    own = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return own | ({VARIABLE: settings.secret} if settings.secret is not None else {})


def given_key(file: str, environ: Mapping[str, str] | None = None) -> bytes:
    """The key as a predictor is given it. Errors: `ConfigError` when it is not."""
    if file:
        return _read(Path(file))
    secret = (os.environ if environ is None else environ).get(VARIABLE)
    if not secret:
        raise ConfigError(
            "the secret of the log's hashes was not handed on", where=VARIABLE, valid="log.secret's value"
        )
    return _of(secret)


def _of(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=_BYTES, person=b"mainspring-log").digest()


def _make(path: Path) -> None:
    """Whole or not at all, and the first stays: a second key would break every join with what is logged."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_bytes(_BYTES))
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(part, path)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        part.unlink()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(
                "others can read the key of the log's hashes", where=str(path), next_step=f"chmod 600 {path}"
            )
        key = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError("the key of the log's hashes is gone", where=str(path), valid="the file as it was") from error
    if len(key) != _BYTES:
        raise ConfigError(f"a key of {len(key)} bytes", where=str(path), valid=f"{_BYTES} bytes")
    return key
