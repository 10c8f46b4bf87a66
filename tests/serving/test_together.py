"""Requests that are there at the same time: one look into the store, one run of the model, one write, and each its own end."""

from mainspring.domain.errors import DataError
from mainspring.serving.errors import ModelFailed, RequestError
from mainspring.serving.predictor import Answered
from tests.serving.served import AT


def pending(served, name, town="Ulm", wind=7.5, count=1):
    columns = {"town": [town] * count, "wind": [wind] * count} if wind is not None else {"town": [town] * count}
    return served.predictor.prepare(count, columns, name, {}, 0.0)


def kinds(found):
    return [type(one) for one in found]


def counted(served, monkeypatch):
    """How often the store, the model and the log are asked."""
    calls = {"store": 0, "model": 0, "log": 0}

    def counting(name, what):
        def call(*given):
            calls[name] += 1
            return what(*given)

        return call

    monkeypatch.setattr(served.store, "read", counting("store", served.store.read))
    monkeypatch.setattr(served.predictor._runtime, "predict", counting("model", served.predictor._runtime.predict))
    monkeypatch.setattr(served.writer, "append", counting("log", served.writer.append))
    return calls


def test_they_share_everything_and_get_what_each_alone_would(served, monkeypatch):
    served.store.put("Ulm", 4.0, AT)
    asked = [("a", "Ulm", 1.0, 1), ("b", "Bonn", 9.0, 3), ("c", "Ulm", 5.0, 2)]
    alone = [served.predictor.answer([pending(served, *one)])[0] for one in asked]
    calls = counted(served, monkeypatch)
    together = served.predictor.answer([pending(served, *one) for one in asked])
    assert calls == {"store": 1, "model": 1, "log": 1}
    assert [(one.id, one.flags) for one in together] == [(one.id, one.flags) for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert all(abs(a[0] - b[0]) < 1e-6 for a, b in zip(one.outputs, other.outputs, strict=True))
    assert [row.request_id for row in served.logged()][6:] == ["a", "b#0", "b#1", "b#2", "c#0", "c#1"]


def test_one_that_is_refused_fails_nobody_else(served):
    found = served.predictor.answer([pending(served, "a"), pending(served, "b", wind=None), pending(served, "c")])
    assert kinds(found) == [Answered, RequestError, Answered]
    assert found[1].text == "wind: this column is not there"
    assert [row.request_id for row in served.logged()] == ["a", "c"]


def test_one_on_which_the_model_raises_fails_nobody_else(served, monkeypatch, capsys):
    predict = served.predictor._runtime.predict

    def fussy(rows):
        if any(row[1] == 13.0 for row in rows):
            raise ZeroDivisionError("thirteen")
        return predict(rows)

    monkeypatch.setattr(served.predictor._runtime, "predict", fussy)
    served.store.put("Ulm", 4.0, AT)
    found = served.predictor.answer([pending(served, str(wind), wind=float(wind)) for wind in (12, 13, 14)])
    assert kinds(found) == [Answered, ModelFailed, Answered]
    assert [(row.request_id, row.outcome, row.reason) for row in served.logged()] == [
        ("12", "answered", ""), ("13", "failed", "ZeroDivisionError: thirteen"), ("14", "answered", "")
    ]  # fmt: skip


def test_one_whose_stored_row_cannot_be_read_fails_nobody_else(served, monkeypatch):
    read = served.store.read

    def broken(wanted):
        if ("Kiel",) in wanted[0]:
            raise DataError("bytes that are no value", where="feature temp of view weather")
        return read(wanted)

    monkeypatch.setattr(served.store, "read", broken)
    found = served.predictor.answer([pending(served, one, town=one) for one in ("Ulm", "Kiel", "Bonn")])
    assert [isinstance(one, Answered) for one in found] == [True, False, True]
    assert (found[1].status, found[1].text) == (503, "feature temp of view weather: bytes that are no value")


def test_a_log_that_cannot_be_written_refuses_those_who_would_be_in_it(served, monkeypatch, capsys):
    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.writer, "append", full)
    found = served.predictor.answer([pending(served, "a"), pending(served, "b", wind=None)])
    assert [one.status for one in found] == [503, 400]
