"""KServe's own clients work unchanged, from an environment of their own: KServe's pins do not fit beside ours."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.serving.models import infer, tensor
from tests.serving.real import body_of

ROOT = Path(__file__).parents[2]
PEER = Path(__file__).parent / "peers" / "kserve"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """KServe's interpreter, made from its locked requirements."""
    folder = tmp_path_factory.mktemp("kserve") / "venv"
    python = folder / "bin" / "python"
    try:
        _uv("venv", "--quiet", "--python", "3.11", folder)
        _uv("pip", "sync", "--quiet", "--python", python, "--require-hashes", PEER / "requirements.txt")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"KServe's SDK cannot be installed here: {error.stderr.strip()[-300:]}")
    return python


def _uv(*arguments):
    subprocess.run([ROOT / "tools" / "uv", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_kserves_clients_work_unchanged(python, process):
    address = f"127.0.0.1:{process.config.grpc_port}"
    command = [python, "-W", "ignore", PEER / "client.py", process.url, address]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environ)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    rows = infer(tensor("town", "BYTES", "Ulm", "Bonn"), tensor("wind", "FP64", 7.5, 2.5))
    values = body_of(process.ask("POST", "/v2/models/rain/infer", rows))["outputs"][0]["data"]
    answer = ["kserve", "probability", [2], values]
    refusal = "wind: shape [1]; valid: [2] or [2, 1], as the first input"
    refused = found.pop("v2 refused")
    assert refused.startswith(f"{refusal}, '400 Bad Request'")
    assert found == {
        "v2": answer,
        "v2 bytes in": answer,
        "v2 bytes both": answer,
        "v2 output as bytes": answer,
        "v2 health": [True, True, True, False],
        "v1": values,
        "v1 health": [True, True],
        "grpc": answer,
        "grpc bytes": answer,
        "grpc health": [True, True, True],
        "grpc refused": ["INVALID_ARGUMENT", refusal],
        "stub": ["mainspring", ["town", "wind", "temp"]],
    }
    assert {one.cohort for one in process.logged() if one.request_id == "kserve#0"} == {"", "kserve"}
