"""Which columns of a label file or source are what: by `labels:` of the project, else by the names that people give them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from mainspring.domain.errors import ConfigError
from mainspring.settings.project import ProjectSettings


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Names of columns. Without `id` labels meet predictions by `entities` (request column -> column here) and `time`."""

    label: str
    id: str | None = None
    entities: dict[str, str] = field(default_factory=dict)
    time: str | None = None
    known_at: str | None = None

    @property
    def names(self) -> list[str]:
        """Every column that is read."""
        named = [self.label, self.id, self.time, self.known_at, *self.entities.values()]
        return list(dict.fromkeys(name for name in named if name is not None))


def label_columns(
    settings: ProjectSettings, present: Sequence[str], *, where: str, time: str | None = None
) -> LabelColumns:
    """The columns among those `present`; `time` is what a source names as its event time.

    Errors: `ConfigError` names what is missing, what is there, and what would be taken.
    """
    asked, target = settings.labels, settings.target
    label = _find(asked.column, ["label", target.column], present, "labels.column", where)
    ids = ["request_id"] if asked.entities else ["request_id", *([target.id] if target.id else [])]
    key = _find(asked.id, ids, present, "labels.id", where, needed=not asked.entities)
    known = ["known_at", *([target.available_at] if target.available_at else [])]
    known_at = _find(asked.available_at, known, present, "labels.available_at", where, needed=False)
    times = [one for one in (time, "event_at", settings.question_time) if one is not None]
    at = _find(asked.time, times, present, "labels.time", where, needed=key is None)
    entities = {} if key is not None else dict(asked.entities)
    for name, column in entities.items():
        _find(column, [], present, f"labels.entities.{name}", where)
    assert label is not None
    return LabelColumns(label, key, entities, at, known_at)


def _find(
    named: str | None, usual: Sequence[str], present: Sequence[str], key: str, where: str, *, needed: bool = True
) -> str | None:
    """The column that the project names, else the first usual one that is there: one section speaks of source and files."""
    wanted = list(dict.fromkeys([*([] if named is None else [named]), *usual]))
    found = next((name for name in wanted if name in present), None)
    if found is not None or not needed:
        return found
    near = [close[0] for one in wanted if (close := difflib.get_close_matches(one, present, n=1))]
    raise ConfigError(
        f"there is no column {' or '.join(f'`{one}`' for one in wanted)}"
        + (f"; did you mean `{near[0]}`?" if near else ""),
        where=where,
        valid=", ".join(present),
        next_step=f"rename the column, or name it in mainspring.yaml: {key}",
    )
