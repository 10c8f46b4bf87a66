"""`log.sink:` of `mainspring.yaml`: where the prediction log goes on to, how often, and how long the local copy stays."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mainspring.settings.part import Duration, Part
from mainspring.settings.storage import S3Settings

SinkKind = Literal["s3", "bigquery", "file"]
_URLS = {
    "s3": re.compile(r"^s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,62})(?P<prefix>(/[^/?#]+)*)/?$"),
    "bigquery": re.compile(r"^bigquery://(?P<project>[^/]+)/(?P<dataset>\w+)/(?P<table>\w+)$"),
    "file": re.compile(r"^file://(?P<path>/.+)$"),
}
_VALID = "s3://bucket/prefix, bigquery://project/dataset/table or file:///folder"


class SinkSettings(Part):
    """Where the prediction log goes on to once it is on this disk. Only a URL may stand for the whole section."""

    url: str
    """`s3://bucket/prefix`, `bigquery://project/dataset/table`, or `file:///folder` for a mounted one."""
    every: Duration = timedelta(minutes=5)
    """How often what is new is sent; at once for an hour that is over. What a lost disk takes with it is at most this old."""
    local: Duration | None = None
    """How long an hour stays on this disk once the sink has it. None: as long as `keep.log` says. Never less than drift,
    retraining and rollouts look back, because they read what is here."""
    s3: S3Settings | None = None
    """S3: how it is reached, where that is not what the project's `s3` says."""
    endpoint: str | None = None
    """BigQuery: URL of an emulator, which is asked without credentials. None: Google's."""
    location: str | None = None
    """BigQuery: where its jobs run, such as EU. None: where the data set lies."""
    credentials: str | None = None
    """BigQuery: file of a service account, as `${GOOGLE_APPLICATION_CREDENTIALS}`. None: Google's usual chain."""

    @model_validator(mode="after")
    def _known(self) -> SinkSettings:
        kind = self.url.partition("://")[0]
        if kind not in _URLS or not _URLS[kind].match(self.url):
            raise ValueError(f"log.sink.url: {self.url!r} is no place for a log; valid: {_VALID}")
        if self.s3 is not None and kind != "s3":
            raise ValueError("log.sink.s3 is for an s3:// URL")
        if kind != "bigquery" and (self.endpoint or self.location or self.credentials):
            raise ValueError("`endpoint`, `location` and `credentials` are for a bigquery:// URL; S3 has `s3:`")
        if self.every < timedelta(seconds=1):
            raise ValueError("log.sink.every is at least 1s")
        return self

    @property
    def kind(self) -> str:
        """`s3`, `bigquery` or `file`."""
        return self.url.partition("://")[0]

    @property
    def parts(self) -> dict[str, str]:
        """The URL's parts by name: bucket and prefix; project, dataset and table; path."""
        found = _URLS[self.kind].match(self.url)
        assert found is not None
        return {name: text.strip("/") if name == "prefix" else text for name, text in found.groupdict().items()}


def _section(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


Sink = Annotated[SinkSettings, BeforeValidator(_section, json_schema_input_type=str | SinkSettings), Field()]
"""A section, or its URL alone."""
