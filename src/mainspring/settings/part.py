"""What every part of `mainspring.yaml` is made of: strict models, and durations in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import DURATION_PATTERN, duration_in_words, parse_duration


class Part(BaseModel):
    """Keys that are not there are mistakes; what stands below a key is what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, str_strip_whitespace=True)


def _duration(value: object) -> object:
    if isinstance(value, int | float) and value != 0:
        raise ValueError(f"{value} has no unit; valid: {value}s, {value}m, {value}h, {value}d, {value}w")
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ConfigError as error:
        raise ValueError(f"{error.what}; valid: {error.valid}") from error


_WORDS = Annotated[str, Field(pattern=DURATION_PATTERN, examples=["30s", "15m", "3h", "28d", "2w"])]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=_WORDS),
    # Defaults in the JSON schema read as they would be written.
    PlainSerializer(duration_in_words, return_type=str, when_used="json"),
]
"""A duration in words: `30s`, `15m`, `3h`, `28d`, `2w`."""
