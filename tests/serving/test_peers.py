"""Clients of others work unchanged, each from a locked environment of its own: their pins do not fit beside ours."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from tests.adapters.traffic.backends import SETTINGS
from tests.serving.models import infer, tensor
from tests.serving.real import body_of

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"


@pytest.fixture
def proxied(process, tmp_path):
    """An Envoy in front of the predictor."""
    router = EnvoyRouter(SETTINGS, ProjectPaths(tmp_path / "project"))
    config = process.config
    endpoint = Endpoint(config.version, "127.0.0.1", config.port, True, grpc_port=config.grpc_port)
    router.apply(Rollout("none", config.version), [endpoint])
    yield router.address()
    router.close()


@pytest.fixture
def asked(process, proxied, tmp_path):
    """What a peer's `client.py` printed, the same by a predictor's own ports and by Envoy's one port for both wires.

    Its environment is made from its requirements, or the test skipped.
    """

    def ask(peer):
        python = tmp_path / "venv" / "bin" / "python"
        try:
            _uv("venv", "--quiet", "--python", "3.11", tmp_path / "venv")
            locked = PEERS / peer / "requirements.txt"
            _uv("pip", "sync", "--quiet", "--python", python, "--require-hashes", locked)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{peer}'s client cannot be installed here: {error.stderr.strip()[-300:]}")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

        def told(url, address):
            command = [python, "-W", "ignore", PEERS / peer / "client.py", url, address]
            found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environ)
            assert found.returncode == 0, found.stderr
            return json.loads(found.stdout.replace(url, "URL"))

        behind = told(proxied, proxied.removeprefix("http://"))
        assert behind == told(process.url, f"127.0.0.1:{process.config.grpc_port}")
        return behind

    return ask


@pytest.fixture
def values(process):
    """What REST answers to the two rows that the peers ask."""
    rows = infer(tensor("town", "BYTES", "Ulm", "Bonn"), tensor("wind", "FP64", 7.5, 2.5))
    return body_of(process.ask("POST", "/v2/models/rain/infer", rows))["outputs"][0]["data"]


def _uv(*arguments):
    subprocess.run([ROOT / "tools" / "uv", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_kserves_clients_work_unchanged(asked, values, process):
    found = asked("kserve")
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


@pytest.mark.slow
def test_tritons_clients_work_unchanged(asked, values):
    rest, grpc = asked("triton")
    answers = [values, values, [True, True, True]]
    refusal = "town: this column is not there"
    assert rest == [*answers, f"[400] {refusal}"]
    assert grpc == [*answers, f"[StatusCode.INVALID_ARGUMENT] {refusal}"]
