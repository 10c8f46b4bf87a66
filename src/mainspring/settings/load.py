"""Reading `mainspring.yaml`: variables, line numbers, suggestions, and where every value came from."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import duration_in_words
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET_KEY = re.compile(r"(^|_)(password|passwd|secret|token|api_?key)$", re.IGNORECASE)
_URL_SECRET = re.compile(
    # A port is no password: http://mlflow:5000/.
    r"(?P<before>^[a-z][a-z0-9+.-]*://[^:/@]*:(?!\d{1,5}(?:[/?#]|$))(?=.*@)|[?&](?:password|passwd|secret|token)=)"
    r"(?P<secret>.*@|[^&]*)",
    re.IGNORECASE,
)
# `host:port,password=...`, as Feast's Redis has it.
_OPTION_SECRET = re.compile(r"(?P<before>,(?:password|passwd|secret|token)=)(?P<secret>[^,]*)", re.IGNORECASE)
_BEFORE_PASSWORD = re.compile(r"^[a-z][a-z0-9+.-]*://[^:/@]*:[^@]*$", re.IGNORECASE)
# An address that whoever knows it may write to.
_SECRET_PLACES = ("notify.webhook.url",)
_MASK = "********"
# Where the keys are the user's own names: a column that is called `token` is no secret.
_NAMES_OF_USERS = re.compile(r"\.(columns|entities|defaults|missing_by)\.")


class _Yaml12(yaml.SafeLoader):
    """YAML 1.2's core schema: `no`, `on` and `yes` are words, `12:30` and `2013-01-01` are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[-1] not in {"bool", "int", "timestamp"}
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


@dataclass(frozen=True, slots=True)
class Effective:
    """One value that is in force: its dotted key, its text with secrets masked, and where it came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedProject:
    """A project that was read. `origins` maps a dotted key to `mainspring.yaml:<line>` or to that with its variable."""

    settings: ProjectSettings
    paths: ProjectPaths
    origins: dict[str, str]


def find_project(start: Path) -> Path:
    """`start` or the nearest folder above it with a `mainspring.yaml`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "mainspring.yaml").is_file():
            return folder
    raise ConfigError(
        "there is no mainspring.yaml here or above",
        where=str(start),
        next_step="mainspring init DIR, or --project DIR for a project elsewhere",
    )


def load_project(folder: Path, environ: Mapping[str, str] | None = None) -> LoadedProject:
    """Read a project's settings; every mistake in the file is reported at once, by file, line and key."""
    paths = ProjectPaths(folder.resolve())
    file = paths.settings_file
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("there is no mainspring.yaml", where=str(folder), next_step="mainspring init DIR") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text: {error}", where=str(file), valid="a YAML file in UTF-8") from error
    document, lines = _parse(text, file.name)
    origins = {key: f"{file.name}:{line}" for key, line in lines.items()}
    problems = [*_plain_secrets(document, origins)]
    document = _substitute(document, os.environ if environ is None else environ, origins, problems)
    settings = None
    try:
        settings = ProjectSettings.model_validate(document)
    except ValidationError as error:
        problems += [_in_words(one, origins, file.name) for one in error.errors()]
    if problems or settings is None:
        raise ConfigError(
            "\n".join(problems) if len(problems) == 1 else f"{len(problems)} mistakes:\n  - " + "\n  - ".join(problems),
            where=str(file),
            next_step="mainspring schema all prints every key; mainspring check tries again",
        )
    return LoadedProject(settings, paths, origins)


def effective(loaded: LoadedProject) -> list[Effective]:
    """Every value that is in force and where it came from."""
    rows = []
    for key, value in _leaves(loaded.settings.model_dump()):
        origin = _nearest(key, loaded.origins) or "default"
        hidden = value is not None and _is_secret(key)
        rows.append(Effective(key, _MASK if hidden else masked_url(_words(value)), origin))
    return rows


def json_schema() -> dict[str, Any]:
    """The JSON schema of `mainspring.yaml`."""
    schema = ProjectSettings.model_json_schema(schema_generator=_InWords)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _InWords(GenerateJsonSchema):
    """Defaults as they would be written in the file: `14d`, where pydantic says P14D, which the file does not take."""

    def encode_default(self, dft: Any) -> Any:
        return duration_in_words(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _parse(text: str, name: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        node = yaml.compose(text, Loader=_Yaml12)
        document = _Yaml12("").construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(
            f"not YAML: {error.problem}", where=line, valid="YAML; inside { } or [ ] a value with ${...} is quoted"
        ) from error
    if not isinstance(document, dict) or not isinstance(node, yaml.MappingNode):
        raise ConfigError("not a mapping of keys to values", where=name, next_step="mainspring schema")
    lines: dict[str, int] = {}
    _number(node, "", lines, name)
    return document, lines


def _number(node: yaml.Node, prefix: str, lines: dict[str, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            if dotted in lines:
                raise ConfigError(
                    f"`{dotted}` is there twice", where=f"{name}:{lines[dotted]} and {key.start_mark.line + 1}"
                )
            lines[dotted] = key.start_mark.line + 1
            _number(value, f"{dotted}.", lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            lines[f"{prefix}{place}"] = value.start_mark.line + 1
            _number(value, f"{prefix}{place}.", lines, name)


def _plain_secrets(document: Any, origins: Mapping[str, str]) -> Iterator[str]:
    for key, value in _leaves(document):
        if isinstance(value, dict | list) or value is None:
            continue
        text, last = str(value), key.rsplit(".", 1)[-1]
        named = _is_secret(key)
        secrets = (
            [text]
            if named
            else [
                *(found["secret"].rstrip("@") for found in _URL_SECRET.finditer(text)),
                *(found["secret"] for found in _OPTION_SECRET.finditer(text)),
            ]
        )
        # `${NAME:-hunter2}` is a password in plain text as well.
        if any(re.sub(r"\$\{\w+\}", "", secret) for secret in secrets):
            variable = last.upper() if named else "DATABASE_PASSWORD"
            variable = "WEBHOOK_URL" if key in _SECRET_PLACES else variable
            yield (
                f"{origins.get(key, '')}: `{key}` holds a password in plain text; write ${{{variable}}} there "
                f"and set the variable {variable} in the environment"
            )


def _is_secret(key: str) -> bool:
    return key in _SECRET_PLACES or (
        bool(_SECRET_KEY.search(key.rsplit(".", 1)[-1])) and not _NAMES_OF_USERS.search(key)
    )


def _substitute(
    value: Any, environ: Mapping[str, str], origins: dict[str, str], problems: list[str], key: str = ""
) -> Any:
    if isinstance(value, dict):
        return {
            name: _substitute(one, environ, origins, problems, f"{key}{name}" if not key else f"{key}.{name}")
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_substitute(one, environ, origins, problems, f"{key}.{place}") for place, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        name, fallback = found[1], found[2]
        if name in environ:
            password = _BEFORE_PASSWORD.search(value[: found.start()]) and "@" in value[found.end() :]
            return _in_url(environ[name]) if password else environ[name]
        if fallback is not None:
            return fallback
        problems.append(
            f"{origins.get(key, '')}: `{key}` needs the variable {name}, which is not set; export {name}=..., or write "
            f"${{{name}:-default}}"
        )
        return found[0]

    filled = _VARIABLE.sub(fill, value)
    if "${" in _VARIABLE.sub("", value):
        problems.append(
            f"{origins.get(key, '')}: `{key}` has a `${{` that is no variable; valid: ${{NAME}}, ${{NAME:-default}}"
        )
    if filled != value:
        origins[key] = f"{origins.get(key, 'mainspring.yaml')} with ${{{', '.join(_names(value))}}}"
    return filled


def _in_url(secret: str) -> str:
    """A password as a URL needs it; one that is percent-encoded already stays as it is."""
    return secret if re.fullmatch(r"(?:[\w.~!*'()-]|%[0-9A-Fa-f]{2})*", secret) else quote(secret, safe="")


def _names(text: str) -> list[str]:
    return [found[1] for found in _VARIABLE.finditer(text)]


def _in_words(error: Any, origins: Mapping[str, str], name: str) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    place = _nearest(key, origins) or name
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.6)
        hint = f"did you mean `{close[0]}`?" if close else f"valid here: {', '.join(known)}"
        return f"{place}: `{key}` is not a key; {hint}"
    if error["type"] == "missing":
        return f"{place}: `{key}` is missing"
    text = str(error["msg"]).removeprefix("Value error, ")
    value = f" (got {error['input']!r})" if location and not isinstance(error["input"], dict) else ""
    if " with ${" in place or _is_secret(key):
        value = ""  # What a variable held may be a secret.
    return f"{place}: {f'`{key}`: ' if key else ''}{text}{value}"


def _keys_at(location: list[str]) -> list[str]:
    model: Any = ProjectSettings
    for part in location:
        field = model.model_fields.get(part)
        # No field: inside a mapping such as `sources`, where the name is the user's and the type stays the mapping's.
        model = model if field is None else _model_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(one) for one in get_args(annotation)]
    return next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), annotation)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}.{place}")
    else:
        yield prefix, value


def _nearest(key: str, origins: Mapping[str, str]) -> str | None:
    if key in origins:
        return origins[key]
    inside = [origin for name, origin in origins.items() if name.startswith(f"{key}.")]
    if inside:
        return inside[0]
    parent, _, _ = key.rpartition(".")
    # A value that the file does not name is a default, even inside a part that it does name.
    return origins.get(parent) if parent and parent.rsplit(".", 1)[-1].isdigit() else None


def _words(value: Any) -> str:
    """A value as it would be written in the file."""
    if isinstance(value, timedelta):
        return duration_in_words(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def masked_url(text: str) -> str:
    """A URL, or any text, without the passwords that URLs in it hold."""
    text = _OPTION_SECRET.sub(lambda found: found["before"] + _MASK, text)
    return _URL_SECRET.sub(lambda found: found["before"] + _MASK + ("@" if found["secret"].endswith("@") else ""), text)
