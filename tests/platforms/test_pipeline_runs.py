"""Real runs of the six steps by `kfp.local`: from sources to a version, from the cache, and the warm worker."""

import json
import socket
import subprocess
import sys
import time

import pytest

from mainspring.adapters.kfp.worker import ask, warm_worker
from mainspring.settings.load import load_project
from tests.platforms.towns import edit, pipeline_run, registry_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.usefixtures("warm")
def test_six_steps_make_a_version_and_a_second_like_it_is_refused(project):
    edit(project, "mainspring.yaml", "", "gate: {min_gain: 0.1}\n")
    edit(project, "training.py", "def train(data, params):", "def train(data, params):\n    print('a user prints')")
    first = pipeline_run(project, "run-1", known_at="2026-03-01")
    assert (first.status, first.passed, first.version) == ("succeeded", True, "1"), first.reason
    assert [step.status for step in first.steps] == ["succeeded"] * 6
    registry = registry_of(project)
    registry.set_alias("champion", "1")
    second = pipeline_run(project, "run-2", champion="1")
    assert (second.status, second.passed, second.version) == ("succeeded", False, "2"), second.reason
    accepted, refused = registry.versions()
    assert (accepted.verdict, refused.verdict) == ("accepted", "refused")
    assert "of version 1" in refused.reason
    assert accepted.metrics["auc"] > 0.7
    assert accepted.trained_until.strftime("%m-%d %H") == "03-01 00"  # the winner was refitted on everything
    output = (load_project(project).paths.runs / "run-1" / "output.log").read_text()
    assert "a user prints" in output
    told = [
        json.loads(line[line.index("{") :])
        for line in output.splitlines()
        if '"run_id": "run-1"' in line and '"event"' in line
    ]
    assert {(one["step"], one["event"]) for one in told} >= {("train", "step began"), ("register", "step ended")}
    answer = ask(project / ".mainspring", "mainspring.platforms.step:run_here", ["train", "nowhere", "r", "{}", {}, {}])
    assert answer["kind"] == "ConfigError"


def test_without_a_worker_a_run_keeps_one_for_itself_and_leaves_none(project):
    run = pipeline_run(project, "run-1")
    assert (run.status, run.version) == ("succeeded", "1"), run.reason
    folder = load_project(project).paths.runs / "run-1"
    assert "worker.log" in {path.name for path in folder.iterdir()}
    assert ask(folder, "builtins:len", ["four"]) is None


def test_a_step_whose_asker_is_gone_ends(project):
    with warm_worker(project / ".mainspring", []) as wait:
        assert wait(60)
        mark = project / "mark"
        code = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(project / ".mainspring" / "worker.sock"))
            asker.sendall(json.dumps({"call": "builtins:exec", "arguments": [code], "output": ""}).encode() + b"\n")
            time.sleep(0.5)
        time.sleep(4)
        assert not mark.exists()
        assert ask(project / ".mainspring", "builtins:exec", [code])["value"] is None
        assert mark.exists()


def test_handing_a_step_on_imports_little():
    # A process for every step does nothing else: reading the settings' module takes longer than starting it.
    code = "import sys, mainspring.platforms.step; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"pydantic", "numpy", "pyarrow", "duckdb"} & set(loaded)
