"""What the project keeps out of the prediction log reaches no file; what it hashes can be joined and not be read."""

import os
import re
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import ConfigError
from mainspring.domain.log_record import LogRow, SegmentHeader, to_prediction
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.keeping import LogSettings
from mainspring.settings.log_key import VARIABLE, given_key, log_key
from mainspring.settings.paths import ProjectPaths
from tests.serving.served import Served

KEY = b"k" * 32
HEADER = SegmentHeader("1", "", ("temp", "name", "town"), ("number", "text", "text"), ("town", "user"), ("weather",))


def key_of(tmp_path):
    return log_key(LogSettings(), ProjectPaths(tmp_path))


def test_a_predictor_logs_what_it_may_and_answers_as_ever(model, tmp_path):
    open_, closed = tmp_path / "open", tmp_path / "closed"
    for one in (open_, closed):
        one.mkdir()
    plain = Served(model, open_)
    key_of(tmp_path)
    file = str(ProjectPaths(tmp_path).log_key)
    served = Served(model, closed, log_drop=("wind",), log_hash=("town",), log_key_file=file)
    assert served.ask()[1]["outputs"] == plain.ask()[1]["outputs"]
    (before,), (row,) = plain.logged(), served.logged()
    assert "wind" in before.features
    assert "wind" not in row.features
    town = before.entities["town"]
    hashed = Concealment((), ("town",), key_of(tmp_path)).hashed("town", town)
    assert row.entities["town"] == hashed
    assert row.features.get("town", hashed) == hashed
    assert row.output == before.output
    written = b"".join(path.read_bytes() for path in closed.iterdir())
    assert str(town).encode() not in written
    assert b"wind" not in written


def test_a_failure_does_not_tell_what_the_model_was_asked(tmp_path):
    writer = SegmentWriter(tmp_path, HEADER, concealment=Concealment(["name"], [], KEY))
    row = LogRow("q", 0, 0, 1, 0, 0, (), (1.0, "Eva", "Ulm"), ("Ulm", 7), (), reason="ValueError: no number: 'Eva'")
    writer.append([row])
    writer.rotate()
    data = next(tmp_path.iterdir()).read_bytes()
    assert b"Eva" not in data
    assert b"ValueError (its text is withheld" in data


@given(
    st.sets(st.sampled_from(["temp", "name", "town", "user"])),
    st.sets(st.sampled_from(["temp", "name", "town", "user"])),
    st.tuples(st.none() | st.floats(), st.none() | st.text(), st.none() | st.text()),
    st.tuples(st.none() | st.text(), st.none() | st.integers() | st.text()),
)
def test_every_other_value_stays_as_it_is(drop, hash_, features, entities):
    one = Concealment(drop, hash_ - drop, KEY)
    header, conceal = one.bound(HEADER)
    before = to_prediction(HEADER, LogRow("q", 0, 0, 0, 0, 0, (0.5,), features, entities, (1.0,), ("f",)))
    row = LogRow("q", 0, 0, 0, 0, 0, (0.5,), features, entities, (1.0,), ("f",))
    after = to_prediction(header, conceal(row))
    for found, was in ((after.features, before.features), (after.entities, before.entities)):
        wanted = {
            name: one.hashed(name, value) if name in hash_ else value for name, value in was.items() if name not in drop
        }
        assert repr(found) == repr(wanted)
    assert (after.output, after.flags, after.feature_age_seconds) == (
        before.output,
        before.flags,
        before.feature_age_seconds,
    )
    assert all(kind == "text" for name, kind in zip(header.features, header.kinds, strict=True) if name in hash_)


def test_the_key_is_made_once_and_only_this_user_reads_it(tmp_path):
    paths = ProjectPaths(tmp_path)
    code = (
        "import sys; from pathlib import Path; from mainspring.settings.log_key import log_key;"
        "from mainspring.settings.keeping import LogSettings; from mainspring.settings.paths import ProjectPaths;"
        "print(log_key(LogSettings(), ProjectPaths(Path(sys.argv[1]))).hex())"
    )
    several = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    keys = {one.communicate()[0].strip() for one in several}
    assert keys == {log_key(LogSettings(), paths).hex()}
    assert stat.S_IMODE(paths.log_key.stat().st_mode) == 0o600
    assert [one.name for one in paths.log_key.parent.iterdir()] == ["key"]
    os.chmod(paths.log_key, 0o644)
    with pytest.raises(ConfigError, match="others can read the key"):
        log_key(LogSettings(), paths)


def test_a_secret_of_the_project_is_the_same_key_everywhere_and_in_no_file(tmp_path):
    settings = LogSettings(secret="correct horse battery")
    paths = ProjectPaths(tmp_path)
    key = log_key(settings, paths)
    assert given_key("", {VARIABLE: "correct horse battery"}) == key
    assert log_key(LogSettings(secret="correct horse batterz"), paths) != key
    assert not paths.log_key.exists()
    with pytest.raises(ConfigError, match="was not handed on"):
        given_key("", {})


def test_a_hash_tells_nothing_of_its_length_and_is_no_hash_without_the_key():
    one, other = Concealment((), ("user",), KEY), Concealment((), ("user",), b"j" * 32)
    assert re.fullmatch(r"[0-9a-f]{32}", one.hashed("user", "Eva"))
    assert len(one.hashed("user", "x" * 1000)) == 32
    assert one.hashed("user", "Eva") != other.hashed("user", "Eva")
    with pytest.raises(ValueError, match="without a key"):
        Concealment((), ("user",), b"")
