"""The keys of `mainspring.yaml` for a person: each with its default and what it means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from mainspring.domain.errors import NotFound
from mainspring.domain.time import duration_in_words
from mainspring.settings.project import ProjectSettings


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` is as it would be written; "required" when it has to be there."""

    key: str
    default: str
    meaning: str


def keys_of(part: str = "") -> list[Key]:
    """The keys below `part` (a dotted key), or all; a name of the user's own stands as `<name>`.

    >>> [one.key for one in keys_of("rollout.errors")]
    ['rollout.errors.ratio', 'rollout.errors.margin_percent']
    """
    found = list(_walk(ProjectSettings, ""))
    chosen = [one for one in found if not part or one.key == part or one.key.startswith(f"{part}.")]
    if not chosen:
        parts = list(dict.fromkeys(".".join(one.key.split(".")[:depth]) for one in found for depth in (1, 2, 3)))
        near = difflib.get_close_matches(part, parts, n=1)
        raise NotFound(
            f"there is no key `{part}`" + (f"; did you mean `{near[0]}`?" if near else ""),
            valid=", ".join(dict.fromkeys(one.key.split(".")[0] for one in found)),
            next_step="mainspring schema all",
        )
    return chosen


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        listed = get_origin(field.annotation) is list
        inner = [one for one in _parts_of(field.annotation) if _is_model(one)]
        if inner and not listed:
            named = get_origin(field.annotation) is dict
            yield from _walk(inner[0], f"{key}.<name>." if named else f"{key}.")
        else:
            default = "required" if field.is_required() else _written(field.get_default(call_default_factory=True))
            yield Key(key, default, " ".join((field.description or "").split()))
            if inner:
                yield from _walk(inner[0], f"{key}[].")


def _parts_of(annotation: Any) -> Iterator[Any]:
    """The annotation, and what it is made of: `list[Annotated[X, ...]]` holds X."""
    yield annotation
    for one in get_args(annotation):
        yield from _parts_of(one) if get_origin(one) is Annotated else (one,)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _written(default: Any) -> str:
    if isinstance(default, str):
        return default
    if isinstance(default, timedelta):
        return duration_in_words(default)
    return json.dumps(default, default=lambda part: part.model_dump(mode="json", exclude_none=True))
