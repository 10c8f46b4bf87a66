"""What a new user types first, as processes: output, errors, exit status."""

import importlib
import json
import re
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mainspring.cli import app as cli


def test_every_command_has_an_example():
    import typer

    for module in Path(cli.__file__).parent.glob("*_commands.py"):
        importlib.import_module(f"mainspring.cli.{module.stem}")
    group = typer.main.get_command(cli.app)
    names = group.list_commands(None)
    assert names[:5] == ["init", "check", "train", "run", "up"]
    commands = {name: one for name, one in group.commands.items() if not hasattr(one, "commands")}
    assert {"init", "check", "train", "run", "doctor", "schema", "config"} <= set(commands)
    assert [name for name, one in commands.items() if not (one.epilog or "").startswith("Example: mainspring ")] == []


def test_from_a_file_to_checks_and_scores(mainspring, tmp_path):
    generator = np.random.default_rng(1)
    dose = generator.normal(5, 2, 300).round(2)
    pd.DataFrame({"dose": dose, "unit": "mg", "dead": (dose > 5).astype(int)}).to_csv(
        tmp_path / "doses.csv", index=False
    )
    made = mainspring("init", "toxic", "--from", "doses.csv", "--target", "dead").stdout
    assert "task      binary: two labels" in made
    assert "left out  unit: always 'mg'" in made
    assert made.endswith("next: cd toxic && mainspring check\n")
    checked = json.loads(mainspring("check", "--json", folder=tmp_path / "toxic").stdout)
    assert checked["passed"]
    assert [one["status"] for one in checked["checks"]] == ["passed"] * 6
    trained = json.loads(mainspring("train", "--json", folder=tmp_path / "toxic").stdout)
    assert (trained["task"], trained["registered"]) == ("binary", False)
    assert trained["scores"][0]["metric"] == "auc"
    assert trained["scores"][0]["value"] > 0.95


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["init", "x", "--from", "none.csv", "--target", "y"], "error: there is no such file"),
        (["init", "orders"], "error: the folder is not empty"),
        (["init", "x", "--target", "y"], "a template has its own data"),
        (
            ["init", "x", "--from", "orders/data/sample.csv", "--target", "late", "--delay", "7"],
            "'7' is not a duration",
        ),
        (["check"], "error: there is no mainspring.yaml here or above"),
        (["train", "-C", "orders", "--as-of", "soon"], "error: 'soon' is not an instant"),
    ],
)
def test_a_mistake_is_a_message_and_not_a_traceback(mainspring, blank, words, message):
    done = mainspring(*words, status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failed_check_ends_with_one_and_says_what_next(mainspring, blank):
    (blank / "training.py").write_text("def train(data, params):\n    return data.nothing\n")
    done = mainspring("check", folder=blank, status=1)
    assert "ok    features" in done.stdout
    assert "FAIL  training" in done.stdout
    assert "training.py:2" in done.stdout
    assert "  next: mainspring train, which runs in this process" in done.stdout
    assert done.stdout.endswith("not reached: export\n")
    assert done.stderr == ""
    broken = json.loads(mainspring("check", "--json", folder=blank, status=1).stdout)
    assert not broken["passed"]
    assert broken["checks"][4]["where"].endswith("training.py:2")


def test_a_breakpoint_in_training_stops_then_scores_are_a_table_and_nothing_is_registered(mainspring, blank):
    text = (blank / "training.py").read_text()
    (blank / "training.py").write_text(text.replace("    return make", "    breakpoint()\n    return make"))
    out = mainspring("train", folder=blank, given="p len(data.y), data.categoricals\nc\n").stdout
    assert "(Pdb) (288, ['vehicle'])" in out
    assert "LogisticRegression on 288 rows x 3 inputs" in out
    assert "scored on 112 held-out rows from 2026-02-10 to 2026-02-24" in out
    assert "metric             better  held out  90 % interval" in out
    assert "\nauc * " in out
    assert "* the gate: auc" in out
    assert "nothing was registered; next: mainspring run" in out


def test_quitting_the_debugger_is_no_error_of_training(mainspring, blank):
    text = (blank / "training.py").read_text()
    (blank / "training.py").write_text(text.replace("    return make", "    breakpoint()\n    return make"))
    left = mainspring("train", folder=blank, given="q\n", status=130)
    assert "left the debugger" in left.stderr


def test_a_fault_in_training_can_be_looked_at_where_it_is(mainspring, blank):
    (blank / "training.py").write_text("def train(data, params):\n    rows = len(data.y)\n    return rows / 0\n")
    done = mainspring("train", "--pdb", folder=blank, given="p rows\nq\n", status=2)
    assert "train failed: ZeroDivisionError" in done.stderr
    assert "(Pdb) 288" in done.stdout


def test_the_doctor_looks_at_the_projects_own_port(mainspring, blank):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (blank / "mainspring.yaml").open("a") as file:
            file.write(f"serving: {{port: {port}}}\n")
        found = {one["part"]: one for one in json.loads(mainspring("doctor", "--json", folder=blank).stdout)}
    mine = found[f"port {port} (serving.port: what callers reach)"]
    assert (mine["found"], mine["fine"], mine["optional"]) == ("in use", False, True)
    assert "serving.port" in mine["remedy"]
    assert all(one["remedy"] for one in found.values() if not one["fine"])
    assert any("PostgreSQL" in part for part in found)
    assert any("GPU" in part for part in found)


def test_keys_and_values_are_for_people_too(mainspring, blank):
    shown = mainspring("config", folder=blank).stdout
    assert "features.request     mainspring.yaml:16  ['distance_km', 'weekday', 'vehicle']" in shown
    assert re.search(r"retrain\.cooldown +14d ", mainspring("schema", "retrain").stdout)
    assert "did you mean `retrain`" in mainspring("schema", "retrian", status=2).stderr
    assert json.loads(mainspring("schema").stdout)["properties"]["name"]
