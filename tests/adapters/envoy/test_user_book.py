"""Users remembered over restarts: each log line counted once wherever the loop dies, late and doubled ones, other rollouts."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mainspring.adapters.envoy import user_tally
from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.user_book import UserBook
from mainspring.domain.errors import TemporaryError
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.rollout import RolloutSettings

AT = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = RolloutSettings(sticky="x-user")


def line(user, arm="stable", minutes=0.0, *, weight=50, failed=False, rollout="r1", **more):
    return {
        "at": f"{AT + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S.%fZ}", "id": f"q-{user}-{minutes}", "arm": arm,
        "rollout": rollout, "role": None, "weight": str(weight), "cohort": None, "user": user, "code": 200, "flags": "-",
        "upstream": "", "event_at": None, "method": "POST", "path": "/", "us": 1000, "attempts": 2 if failed else 1, **more,
    }  # fmt: skip


@pytest.fixture
def paths(tmp_path):
    found = ProjectPaths(tmp_path)
    found.proxy.mkdir(parents=True)
    return found


def write(paths, lines, name="access.log"):
    with (paths.proxy / name).open("a") as log:
        log.writelines(json.dumps(one) + "\n" for one in lines)


def counted(rounds, kind="step"):
    """Users, and those who met an error, of both arms, round by round."""
    return [
        tuple((one.users(arm), one.failed.get(arm, 0)) for arm in ("stable", "candidate"))
        for one in rounds
        if one.kind == kind
    ]


def many(count, seed=1):
    rng = np.random.default_rng(seed)
    arms = ["candidate" if one else "stable" for one in rng.random(40) < 0.5]
    users = rng.integers(0, 40, count)
    return [
        line(f"u{user}" if user else None, arms[user] if user else "stable", place * 2, failed=bool(rng.random() < 0.2))
        for place, user in enumerate(users)
    ]


def forget(paths):
    for name in ("users.db", "users.db-wal", "users.db-shm"):
        (paths.proxy / name).unlink(missing_ok=True)


class Killed(BaseException):
    """The loop ended."""


@pytest.mark.parametrize("written", [False, True])
def test_killed_before_or_after_any_write_each_line_counts_once(paths, monkeypatch, written):
    monkeypatch.setattr("mainspring.adapters.envoy.evidence._LINES_AT_ONCE", 30)
    write(paths, many(200))
    whole = EnvoyEvidence(paths, SETTINGS).users("r1")
    writing = UserBook._write
    for place in range(7):
        forget(paths)
        left = [place]

        def dying(self, *arguments, left=left):
            if written or left[0]:
                writing(self, *arguments)
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        monkeypatch.setattr(UserBook, "_write", dying)
        with pytest.raises(Killed):
            EnvoyEvidence(paths, SETTINGS).users("r1")
        monkeypatch.setattr(UserBook, "_write", writing)
        assert EnvoyEvidence(paths, SETTINGS).users("r1") == whole


def test_a_log_that_was_rotated_away_is_not_forgotten(paths):
    write(paths, [line("eva"), line("ada", minutes=1)])
    EnvoyEvidence(paths, SETTINGS).users("r1")
    for minutes, user in ((2, "bob"), (3, "eva")):
        (paths.proxy / "access.log").replace(paths.proxy / "access.log.1")
        write(paths, [line(user, minutes=minutes)])
        found = EnvoyEvidence(paths, SETTINGS).users("r1")
    assert counted(found) == [((3, 0), (0, 0))]


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(1, 120), st.integers(0, 10_000))
def test_rounds_are_what_one_would_count_by_hand(tmp_path_factory, count, seed):
    paths = ProjectPaths(tmp_path_factory.mktemp("hand"))
    paths.proxy.mkdir(parents=True)
    lines = many(count, seed)
    write(paths, lines)
    found = EnvoyEvidence(paths, SETTINGS).users("r1")
    by_user = {}
    for place, one in enumerate(lines):
        by_user.setdefault(one["user"] or f"nobody {place}", []).append(one)
    expected = tuple(
        (
            sum(asked[0]["arm"] == arm for asked in by_user.values()),
            sum(asked[0]["arm"] == arm and any(one["attempts"] > 1 for one in asked) for asked in by_user.values()),
        )
        for arm in ("stable", "candidate")
    )
    assert counted(found) == [expected]
    first = sum(one.first[arm].upstream_errors for one in found if one.kind == "step" for arm in one.first)
    assert first == sum(asked[0]["attempts"] > 1 for asked in by_user.values())


def test_what_fails_after_a_users_window_is_no_longer_his_steps_but_the_hours(paths):
    write(paths, [line("eva", minutes=0), line("eva", minutes=24 * 60 + 1, failed=True)])
    found = EnvoyEvidence(paths, SETTINGS).users("r1")
    assert counted(found) == [((1, 0), (0, 0))]
    assert counted(found, "hour") == [((1, 0), (0, 0)), ((1, 1), (0, 0))]


def test_a_round_of_an_hour_is_full_at_some_time_and_later_ones_are_longer(paths, monkeypatch):
    monkeypatch.setattr(user_tally, "MOST_USERS", 5)
    monkeypatch.setattr(user_tally, "_ROUNDS_OF_A_SIZE", 2)
    write(paths, [line(f"u{place}") for place in range(40)])
    found = EnvoyEvidence(paths, SETTINGS).users("r1")
    assert [stable for (stable, _), _ in counted(found, "hour")] == [5, 10, 10, 15]
    assert counted(found) == [((40, 0), (0, 0))]


def test_lines_of_a_weight_that_is_over_and_of_a_user_who_was_moved_are_left_out_and_counted(paths):
    write(paths, [line("eva", weight=10), line("ada", weight=50), line("bob", weight=10, failed=True)])
    write(paths, [line("ada", "candidate", weight=50, failed=True)])
    evidence = EnvoyEvidence(paths, SETTINGS)
    assert counted(evidence.users("r1")) == [((1, 0), (0, 0)), ((1, 0), (0, 0))]
    assert evidence._book._row()[3] == 2


def test_copies_cohorts_questions_and_whole_weights_are_no_users(paths):
    odd = [
        line("a", role="shadow"),
        line("b", cohort="beta"),
        line("c", method="GET"),
        line("d", weight=100),
        line("e", weight=0),
        line("f", weight=None) | {"weight": None},
        line("g", failed_attempt="1"),
        {key: value for key, value in line("h").items() if key != "user"},  # of an Envoy of an older Mainspring
    ]
    write(paths, odd)
    assert counted(EnvoyEvidence(paths, SETTINGS).users("r1")) == [((1, 0), (0, 0))]
    assert EnvoyEvidence(paths, SETTINGS).members("r1", 50).num_rows == 0


def test_another_rollout_begins_with_nobody(paths):
    write(paths, [line("eva"), line("ada")])
    evidence = EnvoyEvidence(paths, SETTINGS)
    assert counted(evidence.users("r1")) == [((2, 0), (0, 0))]
    write(paths, [line("eva", "candidate", 5, rollout="r2")])
    assert counted(evidence.users("r2")) == [((0, 0), (1, 0))]
    assert evidence.users("r1") == ()
    assert evidence.members("r1", 50).num_rows == 0
    assert evidence.members("r2", 50).column("arm").to_pylist() == ["candidate"]


def test_in_a_replay_callers_say_when_it_is_and_else_their_word_is_worth_nothing(paths):
    write(paths, [line("eva", event_at="2013-03-01T12:00:00+00:00")])
    for replayed, year in ((True, 2013), (False, 2026)):
        evidence = EnvoyEvidence(paths, SETTINGS, replayed=replayed)
        evidence.users("r1")
        assert evidence.members("r1", 50).column("since")[0].as_py().year == year
        forget(paths)


def test_nothing_new_writes_nothing(paths):
    write(paths, many(20))
    EnvoyEvidence(paths, SETTINGS).users("r1")
    evidence = EnvoyEvidence(paths, SETTINGS)
    taken = []
    evidence._book.take = lambda *arguments: taken.append(arguments)
    evidence.users("r1")
    assert not taken


def test_a_broken_file_and_a_full_disk_are_told_in_words_and_nothing_is_lost(paths, monkeypatch):
    write(paths, [line("eva"), line("ada")])
    (paths.proxy / "users.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TemporaryError, match="what users met cannot be counted: file is not a database"):
        EnvoyEvidence(paths, SETTINGS).users("r1")
    forget(paths)
    evidence = EnvoyEvidence(paths, SETTINGS)

    def full(self, *arguments):
        raise sqlite3.OperationalError("database or disk is full")

    writing = UserBook._write
    monkeypatch.setattr(UserBook, "_write", full)
    with pytest.raises(TemporaryError, match="disk is full"):
        evidence.users("r1")
    monkeypatch.setattr(UserBook, "_write", writing)
    assert counted(evidence.users("r1")) == [((2, 0), (0, 0))]


def test_who_looks_on_while_the_one_who_counts_begins_sees_nobody_yet(tmp_path):
    path = tmp_path / "users.db"
    looking = UserBook(path, 60.0, writes=False)
    assert looking.rounds("r1") == ()
    path.touch()
    assert looking.rounds("r1") == ()
    UserBook(path, 60.0).place()
    assert looking.rounds("r1") == ()
    assert looking.members("r1", 50).num_rows == 0
