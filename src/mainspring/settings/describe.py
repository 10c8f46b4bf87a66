"""The keys of `mainspring.yaml` for a person: each with its default and what it means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mainspring.domain.errors import NotFound
from mainspring.settings.load import json_schema


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` is as it would be written; "required" when it has to be there."""

    key: str
    default: str
    meaning: str


def keys_of(part: str = "") -> list[Key]:
    """The keys below `part` (a dotted key), or all; a name of the user's own stands as `<name>`.

    >>> [one.key for one in keys_of("rollout.limits")]
    ['rollout.limits.min_requests', 'rollout.limits.max_error_percent', 'rollout.limits.max_error_ratio']
    """
    schema = json_schema()
    found = list(_walk(schema, schema["$defs"], ""))
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


def _walk(schema: dict[str, Any], parts: dict[str, Any], prefix: str) -> Iterator[Key]:
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        key = f"{prefix}{name}"
        inner, named = _part(field, parts)
        if inner is not None:
            yield from _walk(inner, parts, f"{key}.<name>." if named else f"{key}.")
        else:
            default = "required" if name in required else _written(field.get("default"))
            yield Key(key, default, " ".join(field.get("description", "").split()))


def _part(field: dict[str, Any], parts: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The part that a field holds, and whether it holds several by name."""
    several = field.get("additionalProperties")
    named = isinstance(several, dict) and "$ref" in several
    reference = several["$ref"] if named and isinstance(several, dict) else field.get("$ref")
    return (parts[reference.rsplit("/", 1)[-1]], named) if reference else (None, False)


def _written(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)
