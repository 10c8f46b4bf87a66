"""`log:` and `keep:` of `mainspring.yaml`: what of a person is logged, and how long what was made is kept."""

from __future__ import annotations

from pydantic import Field, model_validator

from mainspring.settings.log_sink import Sink
from mainspring.settings.part import Duration, Part


class LogSettings(Part):
    """Personal data in the prediction log, and where it goes. Names are columns of the request, features or entity keys."""

    drop: list[str] = Field(default_factory=list)
    """Columns that are never written to the log. Their drift is not watched, and rows cannot be found by them."""
    hash: list[str] = Field(default_factory=list)
    """Columns that are logged as a keyed hash: the same value is the same text in every row, and nobody without the key can
    find a value by trying all of them. Their drift is not watched."""
    secret: str | None = None
    """What the key of the hashes is made of, as `${VARIABLE}`. None: a key is made once, in a file of the state folder that
    only this user reads. With another secret the same value is another text."""

    sink: Sink | None = None
    """Where the log goes on to from this disk: a URL, or a section with one. None: it stays here."""

    @model_validator(mode="after")
    def _apart(self) -> LogSettings:
        both = sorted(set(self.drop) & set(self.hash))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be both dropped and hashed")
        if self.secret is not None and len(self.secret) < 16:
            raise ValueError("log.secret is shorter than 16 characters: it could be found by trying")
        return self

    @property
    def unwatched(self) -> tuple[str, ...]:
        """Columns whose values the log does not have."""
        return (*self.drop, *self.hash)


class KeepSettings(Part):
    """What is kept of what was replaced. Never deleted is what is in service, in a rollout or its guard, has an alias, was
    approved by a person, was the champion before, or may still be rolled out."""

    warm: int = Field(default=1, ge=0)
    """Old versions that stay warm after a promotion, so that they can come back at once. 0: none, the old one is retired at
    the promotion and there is no guard. 1: the one that was replaced, while it is guarded. More: champions before it, too,
    for as long as there are no newer ones; each costs a process."""
    versions: int = Field(default=10, ge=0)
    """Versions that are not in use stay in the registry with their files up to this number, the newest. Ten: with a retraining
    a week, two months in which an older one can still be looked at."""
    log: Duration | None = None
    """Files of the prediction log older than this are deleted, here and in its sink. None: none ever is."""
    every: Duration | None = None
    """How often the loop deletes by itself what is not kept. None: only `mainspring gc` does: what is deleted is gone."""
