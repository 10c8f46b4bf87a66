"""Personal data: whether what `log:` of the project names exists. A misspelt name would log what was to be kept out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.settings.load import LoadedProject
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    from mainspring.domain.model_version import Signature


def refuse_strange_columns(settings: ProjectSettings, known: Iterable[str]) -> None:
    """Refuse names of `log.drop` and `log.hash` that are no column of the request, feature or entity."""
    there = dict.fromkeys([*known, *settings.features.entities, *settings.features.entities.values()])
    for key in ("drop", "hash"):
        for name in getattr(settings.log, key):
            if name not in there:
                near = difflib.get_close_matches(name, there, n=1)
                raise ConfigError(
                    f"log.{key} names {name!r}, which is no column of the request, no feature and no entity"
                    + (f"; did you mean {near[0]!r}?" if near else ""),
                    where=f"mainspring.yaml: log.{key}",
                    valid=", ".join(there),
                    next_step="mend the name; until then nothing is served, for it would be logged",
                )


def refuse_strange_columns_of(loaded: LoadedProject, signatures: Iterable[Signature]) -> None:
    """The same before anything is served or scored: by what these take, and by the columns of the target's source."""
    if not loaded.settings.log.unwatched:
        return
    known: list[str] = []
    for one in signatures:
        known += [*one.entities, *(feature.name for feature in one.features)]
    refuse_strange_columns(loaded.settings, [*known, *_of_the_source(loaded)])


def unwatched_in_words(settings: ProjectSettings) -> str:
    """What `log:` keeps out of the log, for a person; "" where it keeps nothing out."""
    log = settings.log
    parts = [f"{', '.join(names)} {what}" for names, what in ((log.drop, "not logged"), (log.hash, "hashed")) if names]
    return f"{'; '.join(parts)}: not watched for drift" if parts else ""


def _of_the_source(loaded: LoadedProject) -> list[str]:
    from datetime import datetime

    from mainspring.features.questions import request_columns
    from mainspring.platforms.opened import opened_source

    settings = loaded.settings
    target = settings.target.source
    source = opened_source(loaded, target)
    try:
        present = source.read(known_at=datetime.max, limit=1).column_names
    except MainspringError:
        return []  # told where it is read for a purpose
    return request_columns(settings, present)
