"""BigQuery's REST interface, as much of it as a log's sink asks for, with Google's own authentication.

So a sink needs no extra: both libraries come with the pipeline's and MLflow's clients.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError, DataError, MainspringError, NotFound, TemporaryError

if TYPE_CHECKING:
    from mainspring.settings.log_sink import SinkSettings

_GOOGLE = "https://bigquery.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/bigquery",)
_SECONDS = 30.0
_JOB_SECONDS = 300.0
_PAGE_ROWS = 20_000
_BUSY = ("rateLimitExceeded", "quotaExceeded", "backendError", "internalError", "jobRateLimitExceeded")


class BigQueryRest:
    """One project's BigQuery. Errors: `TemporaryError` when it does not answer or is busy, `ConfigError` without the rights,
    `NotFound` for what is not there, `DataError` for what it cannot take."""

    def __init__(self, settings: SinkSettings) -> None:
        self.project = settings.parts["project"]
        self._settings = settings
        self._where = f"log.sink: {settings.url}"
        self._base = (settings.endpoint or _GOOGLE).rstrip("/")
        self._opened: Any = None

    def ask(
        self, method: str, path: str, *, body: object = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """One request below the project; its answer."""
        data = None if body is None else json.dumps(body).encode()
        return self._send(
            method, f"{self._base}/bigquery/v2/projects/{self.project}{path}", data, "application/json", query
        )

    def load(self, data: bytes, configuration: Mapping[str, Any]) -> None:
        """Load a Parquet file by a job, and wait for it."""
        mark = uuid.uuid4().hex
        job = {"jobReference": self._job(), "configuration": {"load": configuration}}
        parts = [
            f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(), json.dumps(job).encode(),
            f"\r\n--{mark}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(), data, f"\r\n--{mark}--\r\n".encode(),
        ]  # fmt: skip
        url = f"{self._base}/upload/bigquery/v2/projects/{self.project}/jobs"
        kind = f"multipart/related; boundary={mark}"
        self._wait(self._send("POST", url, b"".join(parts), kind, {"uploadType": "multipart"}))

    def run(self, sql: str) -> None:
        """A statement, by a job that is waited for."""
        configuration = {"query": {"query": sql, "useLegacySql": False}}
        self._wait(self.ask("POST", "/jobs", body={"jobReference": self._job(), "configuration": configuration}))

    def rows(self, sql: str) -> tuple[list[dict[str, Any]], list[list[Any]]]:
        """A query's fields and rows; times as microseconds, numbers as text, as BigQuery writes them."""
        body = {
            "query": sql, "useLegacySql": False, "timeoutMs": int(_SECONDS * 1000), "maxResults": _PAGE_ROWS,
            "formatOptions": {"useInt64Timestamp": True}, **self._located(),
        }  # fmt: skip
        found = self.ask("POST", "/queries", body=body)
        until = time.monotonic() + _JOB_SECONDS
        rows: list[list[Any]] = []
        while True:
            rows += [[cell["v"] for cell in row["f"]] for row in found.get("rows", ())]
            token = found.get("pageToken", "")
            done = found.get("jobComplete", True)
            if done and not token:
                return found["schema"]["fields"], rows
            if time.monotonic() > until:
                raise TemporaryError("BigQuery's query takes too long", where=self._where)
            reference = found["jobReference"]
            query = {
                "maxResults": str(_PAGE_ROWS),
                "formatOptions.useInt64Timestamp": "true",
                **self._located(reference),
            }
            if done:
                query["pageToken"] = token
            found = self.ask("GET", f"/queries/{reference['jobId']}", query=query)

    def _located(self, job: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Where jobs run; of one that was made, where it did, which outside the US and the EU has to be said."""
        place = (job or {}).get("location") or self._settings.location
        return {"location": place} if place else {}

    def _job(self) -> dict[str, str]:
        return {"projectId": self.project, "jobId": f"mainspring_{uuid.uuid4().hex}", **self._located()}

    def _wait(self, job: Mapping[str, Any]) -> None:
        until, pause = time.monotonic() + _JOB_SECONDS, 0.05
        reference = job["jobReference"]
        while job["status"]["state"] != "DONE":
            if time.monotonic() > until:
                raise TemporaryError("BigQuery's job takes too long", where=f"{self._where} ({reference['jobId']})")
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
            job = self.ask("GET", f"/jobs/{reference['jobId']}", query=self._located(reference))
        error = job["status"].get("errorResult")
        if error:
            raise self._said(0, error.get("reason", ""), error.get("message", ""))

    def _send(
        self, method: str, url: str, data: bytes | None, kind: str, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        import requests
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            answer = self._session().request(
                method, url, data=data, params=query, headers={"Content-Type": kind}, timeout=_SECONDS
            )
        except (requests.RequestException, TransportError) as error:
            raise TemporaryError(
                f"BigQuery does not answer: {type(error).__name__}", where=self._where, next_step="mainspring doctor"
            ) from error
        except GoogleAuthError as error:
            raise self._refused(str(error)) from error
        if answer.status_code < 300:
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found
        try:
            told = answer.json()["error"]
            reason = (told.get("errors") or [{}])[0].get("reason", "")
            message = told.get("message", "")
        except (ValueError, KeyError, TypeError):
            reason, message = "", answer.text[:200]
        raise self._said(answer.status_code, reason, message)

    def _said(self, status: int, reason: str, message: str) -> MainspringError:
        text = message.splitlines()[0] if message else reason
        if status in (408, 429) or status >= 500 or reason in _BUSY or "Could not serialize" in message:
            return TemporaryError(f"BigQuery is busy: {text}", where=self._where)
        if status in (401, 403) or reason == "accessDenied":
            return self._refused(text)
        if status == 404 or reason == "notFound":
            return NotFound(f"BigQuery: {text}", where=self._where, next_step="make the data set, or correct the URL")
        return DataError(f"BigQuery refuses: {text}", where=self._where)

    def _refused(self, text: str) -> ConfigError:
        return ConfigError(
            f"BigQuery does not let this account in: {text}",
            where=self._where,
            valid="roles bigquery.jobUser on the project and bigquery.dataEditor on the data set",
            next_step="gcloud auth application-default login, or log.sink.credentials",
        )

    def _session(self) -> Any:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        import requests

        if self._settings.endpoint is not None:
            return requests.Session()  # an emulator
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession

        file = self._settings.credentials
        try:
            found, _ = google.auth.load_credentials_from_file(file, _SCOPES) if file else google.auth.default(_SCOPES)
        except DefaultCredentialsError as error:
            raise self._refused(str(error).splitlines()[0]) from error
        return AuthorizedSession(found)


def text(value: str) -> str:
    """A text as BigQuery's SQL has it.

    >>> text("a'b")
    "'a\\\\'b'"
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def columns_in(names: Sequence[str]) -> str:
    """Columns as SQL has them."""
    return ", ".join(f"`{name}`" for name in names)
