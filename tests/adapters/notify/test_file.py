"""Alerts in a file: each once, and never half of one."""

import json
from datetime import UTC, datetime

from mainspring.adapters.notify.file import FileNotifier
from mainspring.domain.decision import Alert

AT = datetime(2026, 3, 1, tzinfo=UTC)


def alert(name):
    return Alert(name, "level drifted", AT, "warning", "mainspring drift")


def test_an_alert_is_told_once_whoever_sends_it_again(tmp_path, capsys):
    path = tmp_path / "state" / "alerts.jsonl"
    FileNotifier(path).notify(alert("alarm:1"))
    for name in ("alarm:1", "alarm:2"):
        FileNotifier(path).notify(alert(name))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["alarm:1", "alarm:2"]
    assert capsys.readouterr().err.count("level drifted") == 2


def test_what_cannot_be_kept_is_told_all_the_same(tmp_path, capsys):
    path = tmp_path / "alerts.jsonl"
    path.write_text("half a li")
    FileNotifier(path).notify(alert("alarm:1"))
    told = capsys.readouterr().err
    assert "could not be kept" in told
    assert "level drifted" in told
