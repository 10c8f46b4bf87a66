"""Models that somebody else registered in an MLflow: found, downloaded, and read without running anything of theirs.

`MLmodel` is read as text; a flavour's own loader is never called, for an artifact names what it imports. Opened are the
formats that hold no code: skops with types of trusted packages, XGBoost's UBJ and JSON, LightGBM's text, ONNX.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.registry import folder_digest
from mainspring.domain.errors import ConfigError, MainspringError, NotFound, TemporaryError
from mainspring.registry.export import TRUSTED_PACKAGES

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")
_ERRNO = re.compile(r"(?<=\[Errno \d\d\d\] )[^\"')]+|(?<=\[Errno -\d\] )[^\"')]+|timed out")
_SQLITE = "sqlite:///"
_NUMBERS = {"double": "float", "float": "float", "integer": "int", "long": "int", "boolean": "bool"}


@dataclass(frozen=True, slots=True)
class ForeignInput:
    """One input as the model's MLflow signature has it: name, and int, float, bool or str."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class ForeignModel:
    """A model of another registry, in memory.

    `model` is an estimator, a booster or an ONNX model. `inputs` are those of its MLflow signature; None where it names
    none, then `width` is their number, None where that is not said either. `digest` is of its files.
    """

    uri: str
    run: str
    flavour: str
    model: Any
    inputs: tuple[ForeignInput, ...] | None
    width: int | None
    digest: str


def fetch_foreign(uri: str, tracking_uri: str, folder: Path) -> ForeignModel:
    """The model `models:/NAME/VERSION` or `models:/NAME@ALIAS` of a tracking server, downloaded below `folder`.

    Errors: `ConfigError` for a URI of another form and for a model that cannot be loaded safely, `NotFound` for a model or
    version that is not there, `TemporaryError` when the server does not answer.
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise ConfigError(
            f"{uri!r} names no registered version", valid="models:/NAME/VERSION, or models:/NAME@ALIAS of a registry"
        )
    if tracking_uri.startswith(_SQLITE) and not Path(tracking_uri.removeprefix(_SQLITE)).is_file():
        # MLflow would make an empty database there.
        raise NotFound("there is no such MLflow database", where=tracking_uri, valid="the file of an existing one")
    with _translated(tracking_uri):
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts
        from mlflow.models import Model

        client = MlflowClient(tracking_uri, tracking_uri)
        version = _version(client, found["name"], found["version"] or "", found["alias"] or "", tracking_uri)
        pinned = f"models:/{version.name}/{version.version}"
        source = client.get_model_version_download_uri(version.name, version.version)
        place = Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=tracking_uri))
        if not (place / "MLmodel").is_file():
            raise ConfigError(f"{pinned} is no MLflow model: it has no MLmodel file", where=source)
        about = Model.load(str(place))
    flavour, model = _opened(pinned, about.flavors or {}, place)
    inputs, width = _signature(pinned, about.signature)
    return ForeignModel(pinned, str(version.run_id or ""), flavour, model, inputs, width, folder_digest(place))


@contextlib.contextmanager
def _translated(tracking_uri: str) -> Iterator[None]:
    from mlflow.environment_variables import (
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
    )
    from mlflow.exceptions import MlflowException

    from mainspring.settings.load import masked_url

    # MLflow's own patience with a server that is not there is some minutes.
    for setting, value in (
        (MLFLOW_HTTP_REQUEST_MAX_RETRIES, 2),
        (MLFLOW_HTTP_REQUEST_TIMEOUT, 20),
        (MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, False),
    ):
        if not setting.is_set():
            setting.set(value)
    where = masked_url(tracking_uri)
    try:
        yield
    except MlflowException as error:
        text = str(error.message).strip().splitlines()[0].replace(tracking_uri, where)[:500]
        if "failed with exception" in text:
            reason = _ERRNO.search(text)
            raise TemporaryError(
                f"the tracking server does not answer: {reason[0] if reason else text}",
                where=where,
                valid="an MLflow that is reached from here",
                next_step="mainspring adopt ... --tracking-uri URI",
            ) from error
        raise MainspringError(f"MLflow refuses: {text}", where=where) from error
    except OSError as error:
        raise TemporaryError(f"the tracking server does not answer: {error}", where=where) from error


def _version(client: Any, name: str, version: str, alias: str, tracking_uri: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        from mainspring.settings.load import masked_url

        where = masked_url(tracking_uri)
        versions = [str(one.version) for one in client.search_model_versions(f"name = '{name}'", max_results=200)]
        if versions:
            what = f"alias {alias!r}" if alias else f"version {version}"
            raise NotFound(
                f"model {name!r} has no {what}", where=where, valid=", ".join(sorted(versions, key=int))
            ) from error
        names = [one.name for one in client.search_registered_models(max_results=200)]
        near = difflib.get_close_matches(name, names, n=1)
        raise NotFound(
            f"there is no registered model {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            where=where,
            valid=", ".join(names[:20]) or "none is registered there",
        ) from error


def _opened(uri: str, flavours: Mapping[str, Any], folder: Path) -> tuple[str, Any]:
    for name, load in _LOADERS.items():
        if name in flavours:
            return name, load(uri, flavours[name], folder)
    names = ", ".join(sorted(flavours)) or "none"
    loader = str(flavours.get("python_function", {}).get("loader_module", ""))
    if loader.startswith("mainspring."):
        raise ConfigError(
            f"{uri} is a version of a mainspring project",
            next_step=f"train it there and serve it there: mainspring rollout start {uri.rsplit('/', 1)[-1]}",
        )
    raise ConfigError(
        f"{uri} has the flavour {names}, which cannot be loaded without running what is in it",
        valid=f"{', '.join(_LOADERS)}",
        next_step="export it to ONNX, and log that: mlflow.onnx.log_model(onnx_model, name='model', registered_model_name=...)",
    )


def _sklearn(uri: str, conf: Mapping[str, Any], folder: Path) -> Any:
    form = conf.get("serialization_format", "pickle")
    if form != "skops":
        raise ConfigError(
            f"{uri} is stored as {form}, which runs code when it is loaded",
            valid="the format skops",
            next_step="log it again where it was trained: mlflow.sklearn.log_model(model, name='model', "
            "serialization_format='skops', registered_model_name=...)",
        )
    from skops.io import get_untrusted_types, load

    path = _inside(uri, folder, str(conf.get("pickled_model", "model.skops")))
    with _readable(uri, f"scikit-learn {conf.get('sklearn_version', '')}", "scikit-learn"):
        found = get_untrusted_types(file=path)
    # What the artifact itself says is to be trusted says nothing.
    refused = sorted(name for name in found if not name.startswith(TRUSTED_PACKAGES))
    if refused:
        raise ConfigError(
            f"{uri} holds {', '.join(refused)}, which cannot be loaded without running code of its own",
            valid=f"types of {', '.join(one.rstrip('.') for one in TRUSTED_PACKAGES)}",
            next_step="export the whole pipeline to ONNX, and log that with mlflow.onnx.log_model",
        )
    with _readable(uri, f"scikit-learn {conf.get('sklearn_version', '')}", "scikit-learn"):
        return load(path, trusted=list(found))


def _xgboost(uri: str, conf: Mapping[str, Any], folder: Path) -> Any:
    import xgboost

    path = _inside(uri, folder, str(conf.get("data", "model.ubj")))
    if path.suffix not in (".ubj", ".json"):
        raise ConfigError(
            f"{uri} is stored as {path.name}",
            valid="model.ubj or model.json",
            next_step="log it again with mlflow.xgboost.log_model(..., model_format='ubj')",
        )
    kind = str(conf.get("model_class", "xgboost.core.Booster")).rsplit(".", 1)[-1]
    if kind not in ("Booster", "XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"):
        raise ConfigError(f"{uri} is an XGBoost {kind}", valid="Booster, XGBClassifier, XGBRegressor")
    model = xgboost.Booster() if kind == "Booster" else getattr(xgboost, kind)()
    with _readable(uri, f"XGBoost {conf.get('xgb_version', '')}", "xgboost"):
        model.load_model(str(path))
    return model


def _lightgbm(uri: str, conf: Mapping[str, Any], folder: Path) -> Any:
    path = _inside(uri, folder, str(conf.get("data", "model.lgb")))
    if not str(conf.get("model_class", "lightgbm.basic.Booster")).endswith(".Booster"):
        raise ConfigError(
            f"{uri} is a pickle of {conf['model_class']}, which runs code when it is loaded",
            valid="a LightGBM Booster, which is text",
            next_step="log its booster: mlflow.lightgbm.log_model(model.booster_, name='model', registered_model_name=...)",
        )
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            f"{uri} needs LightGBM, which is not installed here", next_step="pip install lightgbm"
        ) from error
    with _readable(uri, f"LightGBM {conf.get('lgb_version', '')}", "lightgbm"):
        return lightgbm.Booster(model_file=str(path))


def _onnx(uri: str, conf: Mapping[str, Any], folder: Path) -> Any:
    import onnx

    path = _inside(uri, folder, str(conf.get("data", "model.onnx")))
    with _readable(uri, f"ONNX {conf.get('onnx_version', '')}", "onnx"):
        return onnx.load(path)


_LOADERS: dict[str, Callable[[str, Mapping[str, Any], Path], Any]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
}


@contextlib.contextmanager
def _readable(uri: str, written_by: str, package: str) -> Iterator[None]:
    """Any error of a library on its own file means that this version of it cannot read it."""
    try:
        yield
    except MainspringError:
        raise
    except Exception as error:
        from importlib.metadata import PackageNotFoundError, version

        try:
            here = version(package)
        except PackageNotFoundError:
            here = version(f"{package}-cpu")
        text = str(error).strip().splitlines()
        raise ConfigError(
            f"{uri} cannot be read: {type(error).__name__}: {text[0][:300] if text else ''}",
            valid=f"a file that {package} {here}, which is installed here, can read",
            next_step=f"log it again with {package} {here}; it was written by {written_by.strip()}",
        ) from error


def _inside(uri: str, folder: Path, name: str) -> Path:
    """A file of the model's folder: what MLmodel says must not lead out of it."""
    path = (folder / name).resolve()
    if path.is_dir():
        files = [one for one in path.iterdir() if one.is_file() and one.suffix in (".onnx", ".ubj", ".json", ".skops")]
        path = files[0] if len(files) == 1 else path
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ConfigError(f"{uri} has no file {name!r}, which its MLmodel promises", where=str(folder))
    return path


def _signature(uri: str, signature: Any) -> tuple[tuple[ForeignInput, ...] | None, int | None]:
    if signature is None or signature.inputs is None:
        return None, None
    if signature.inputs.is_tensor_spec():
        specs = signature.inputs.inputs
        shape = tuple(specs[0].shape) if len(specs) == 1 else ()
        if len(shape) != 2 or shape[1] < 1:
            raise ConfigError(
                f"{uri} takes tensors of shape {', '.join(str(tuple(one.shape)) for one in specs)}",
                valid="a table: named columns, or one tensor of shape (-1, columns)",
            )
        return None, int(shape[1])
    found = []
    for one in signature.inputs.inputs:
        kind = getattr(one.type, "name", str(one.type))
        if kind not in _NUMBERS and kind != "string":
            raise ConfigError(
                f"{uri} takes {one.name!r} of type {kind}", valid="numbers, booleans and strings, one value a row"
            )
        found.append(ForeignInput(str(one.name), _NUMBERS.get(kind, "str"), bool(one.required)))
    return tuple(found), len(found)
