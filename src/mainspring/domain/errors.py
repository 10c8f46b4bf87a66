"""The error tree. A message says what was wrong, where, what is valid, and what to type next."""

from __future__ import annotations


class MainspringError(Exception):
    """Base of every error that is meant for a person.

    Parameters
    ----------
    what: what was wrong, in one sentence.
    where: file, field or row that has to be looked at.
    valid: what would have been accepted.
    next_step: the command to type next.

    >>> print(ConfigError("`metrc` is not a key", where="mainspring.yaml: metrc", valid="metric"))
    `metrc` is not a key
      where: mainspring.yaml: metrc
      valid: metric
    """

    temporary = False

    def __init__(self, what: str, *, where: str = "", valid: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.valid = valid
        self.next_step = next_step

    def __str__(self) -> str:
        details = (("where", self.where), ("valid", self.valid), ("next", self.next_step))
        return "\n".join([self.what, *(f"  {name}: {text}" for name, text in details if text)])


class ConfigError(MainspringError):
    """`mainspring.yaml` or a project file says something that is not valid."""


class DataError(MainspringError):
    """A source's rows are not what was declared: wrong type, missing column, unreadable time."""


class ValidationFailed(DataError):
    """A critical expectation failed; names expectation, column, count and example rows."""


class TrainingError(MainspringError):
    """The project's `train` failed or returned something that cannot be carried."""


class NotFound(MainspringError):
    """Something that was named does not exist."""


class ConflictError(MainspringError):
    """Somebody else wrote first, or the lease is held elsewhere."""


class TemporaryError(MainspringError):
    """The outside world did not answer; the next tick tries again."""

    temporary = True
