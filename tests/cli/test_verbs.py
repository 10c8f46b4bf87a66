"""Verbs about a loop on a project where none has run yet."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Decision
from mainspring.settings.paths import ProjectPaths
from tests.cli.running import mainspring, write_project

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    return write_project(tmp_path)


def test_status_says_that_nothing_runs_and_what_to_do(folder):
    code, out, _ = mainspring(folder, "status")
    assert code == 0
    assert "does not run" in out
    assert "mainspring up" in out
    found = json.loads(mainspring(folder, "status", "--json")[1])
    assert (found["loop"]["running"], found["serving"]["version"], found["drift"]) == (False, "", None)
    counts = {"predictions": 0, "labelled": 0, "late": 0, "contradicting": 0}
    assert found["labels"] == counts | {"window": "P21D"}


@pytest.mark.parametrize(
    ("arguments", "says", "next_step"),
    [
        (["drift"], "no drift report yet", "mainspring drift --now"),
        (["drift", "--now"], "nothing is served yet", "mainspring up"),
        (["predict", "--data", "{}"], "nothing is served", "mainspring up"),
        (["predict", "--data", "{"], "the question is no JSON", ""),
        (["predict"], "one question is needed", ""),
        (["predict", "--id", "d1", "--data", "{}"], "not --data, --id at once", ""),
        (["predict", "--id", "d9999"], "no row has the id 'd9999'", ""),
        (["predict", "--file", "nowhere.json"], "the file cannot be read", ""),
        (["score", "nowhere.csv", "out.csv"], "no such file", ""),
        (["score", "days.csv", "out.csv", "--as-of", "noon"], "'noon' is not an instant", ""),
        (["labels", "add", "nowhere.csv"], "no such file", ""),
        (["labels", "--as-of", "noon"], "'noon' is not an instant", ""),
        (["ledger", "--kind", "promotd"], "did you mean 'promoted'?", ""),
        (["ledger", "--since", "noon"], "'noon' is not an instant", ""),
        (["rollout", "abort"], "no rollout is under way", "mainspring status"),
        (["rollout", "pause"], "no rollout is under way", "mainspring status"),
        (["freeze"], "a freeze needs its end", "mainspring freeze --help"),
        (["freeze", "--until", "soon"], "'soon' is not an instant", ""),
        (["freeze", "--until", "2020-01-01"], "a freeze needs an end later than now", "mainspring status"),
        (["freeze", "--end"], "nothing is frozen", "mainspring status"),
    ],
)
def test_an_error_says_what_and_what_next(folder, arguments, says, next_step):
    code, _, errors = mainspring(folder, *arguments)
    assert code == 2
    assert says in errors
    assert next_step in errors


def test_nothing_is_scored_without_a_champion(folder):
    code, _, errors = mainspring(folder, "score", str(folder / "days.csv"), str(folder / "out.csv"))
    assert (code, "there is no champion" in errors, "mainspring up" in errors) == (2, True, True)


def test_labels_are_added_and_counted(folder):
    (folder / "said.csv").write_text("request_id,label\nd1,1\nnobody,0\n")
    code, out, errors = mainspring(folder, "labels", "add", str(folder / "said.csv"), "--by", "eva")
    assert (code, out) == (0, "added said.csv: 2 rows: 2 new; 1 meet no prediction yet, and are kept\n"), errors
    assert "nothing changed: this file was added" in mainspring(folder, "labels", "add", str(folder / "said.csv"))[1]
    out = mainspring(folder, "labels")[1]
    assert "2 labels beside the target's source, 1 file added" in out
    found = json.loads(mainspring(folder, "labels", "--json")[1])
    assert (found["said"], found["unmatched"], found["added"][0]["by"]) == (2, 1, "eva")
    assert json.loads(mainspring(folder, "ledger", "--json", "--kind", "labels_added")[1])[0]["actor"] == "eva"


def test_watching_ends_with_the_rollout(folder):
    code, out, _ = mainspring(folder, "rollout", "watch")
    assert (code, "rollout     none is under way" in out) == (0, True)


def test_no_rows_are_no_error(folder):
    assert mainspring(folder, "logs")[:2] == (0, "no prediction is logged\n")
    assert mainspring(folder, "logs", "--labels", "--json")[:2] == (0, "[]\n")
    assert mainspring(folder, "ledger")[:2] == (0, "no decision yet\n")
    assert not ProjectPaths(folder).ledger.exists()


def test_the_ledger_is_asked_by_kind_time_and_version(folder):
    ledger = SqliteLedger(ProjectPaths(folder).ledger)
    for place in range(4):
        kind = "promoted" if place % 2 else "gate_passed"
        at = AT + timedelta(days=place)
        ledger.append(Decision(f"d{place}", kind, f"what {place}", "why", "loop", at, version=str(place // 2)))

    def ids(*arguments):
        return [one["id"] for one in json.loads(mainspring(folder, "ledger", "--json", *arguments)[1])]

    assert ids() == ["d0", "d1", "d2", "d3"]
    assert ids("--kind", "promoted") == ["d1", "d3"]
    assert ids("--since", "2026-03-03") == ["d2", "d3"]
    assert ids("--version", "0") == ["d0", "d1"]
    assert ids("--last", "1") == ["d3"]


@pytest.mark.parametrize(
    "verb",
    [
        "up",
        "status",
        "drift",
        "predict",
        "retrain",
        "approve",
        "freeze",
        "logs",
        "ledger",
        "labels",
        "labels add",
        "score",
    ]
    + [f"rollout {word}" for word in ("status", "watch", "start", "pause", "resume", "abort", "promote", "undo")],
)
def test_each_verb_has_an_example(folder, verb):
    code, out, _ = mainspring(folder, *verb.split(), "--help")
    assert code == 0
    assert f"Example: mainspring {verb}" in out
