"""The project around an adopted model: the smallest that serves and watches it, with the reference as its only source.

It has no `training.py` and is never retrained; with labels, more rows and a recipe it becomes any other project.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from mainspring.domain.errors import ConfigError
from mainspring.platforms.adopt import Adopted, AdoptionWish, Proof, prove, register
from mainspring.settings.load import LoadedProject, load_project
from mainspring.templates.render import GITIGNORE
from mainspring.templates.write import project_name, refuse_full

_SOURCE = "reference"
_LEFT = {f"{_SOURCE}.parquet", ".gitignore"}
"""What an adoption that was killed may have left in the folder."""
_HEAD = """\
# Adopted from {origin}.
# It is served and watched; it is not retrained before there is a training.py and labels: see docs/adopting.md.
"""


def adopt_into(folder: Path, wish: AdoptionWish, *, name: str, by: str, why: str) -> Adopted:
    """Adopt into the project in `folder`; where there is none, one is written once the model is proven.

    Errors: those of `prove`, and `ConfigError` for a folder with other files.
    """
    if (folder / "mainspring.yaml").is_file():
        return adopt_here(load_project(folder), wish, by=by, why=why)
    refuse_full(folder, but=_LEFT)
    name = project_name(name, folder)
    if not wish.tracking_uri:
        raise ConfigError(
            "nobody says in which MLflow the model is",
            valid="--tracking-uri URI, or the variable MLFLOW_TRACKING_URI",
        )
    with TemporaryDirectory(prefix="mainspring-adopt-") as scratch:
        proof = prove(wish, Path(scratch) / "model", None, name)
        _write(folder, proof, name)
        return register(proof, load_project(folder), by=by, why=why)


def adopt_here(loaded: LoadedProject, wish: AdoptionWish, *, by: str, why: str) -> Adopted:
    """Adopt into an existing project, by default from its own MLflow."""
    from mainspring.adapters.mlflow.tracking import Tracking

    uri = wish.tracking_uri or Tracking(loaded.settings, loaded.paths).uri
    with TemporaryDirectory(prefix="mainspring-adopt-") as scratch:
        proof = prove(replace(wish, tracking_uri=uri), Path(scratch) / "model", loaded, loaded.settings.name)
        return register(proof, loaded, by=by, why=why)


def _write(folder: Path, proof: Proof, name: str) -> None:
    """Settings last: a folder with them is a whole project."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wish, table = proof.wish, proof.table
    label = wish.label
    if not label:
        # A question without its answer yet; rows with labels may come to lie beside these.
        label = next(one for one in ("label", "answer", "_label") if one not in table.column_names)
        table = table.append_column(label, pa.nulls(table.num_rows, pa.float64()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text(GITIGNORE, encoding="utf-8")
    pq.write_table(table, folder / f"{_SOURCE}.parquet")
    part = folder / ".mainspring.yaml.part"
    part.write_text(_settings(proof, name, label), encoding="utf-8")
    part.replace(folder / "mainspring.yaml")


def _settings(proof: Proof, name: str, label: str) -> str:
    wish = proof.wish
    source: dict[str, object] = {"path": f"{_SOURCE}.parquet"}
    if wish.time:
        source |= {"time": wish.time, "columns": {wish.time: "time"}}
    target: dict[str, object] = {"source": _SOURCE, "column": label}
    if wish.id:
        target["id"] = wish.id
    settings = {
        "name": name,
        "task": proof.card.task,
        "sources": {_SOURCE: source},
        "target": target,
        "features": {"request": [one.name for one in proof.card.signature.features]},
        "retrain": {"policy": "never"},
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110)
    return _HEAD.format(origin=proof.origin) + text
