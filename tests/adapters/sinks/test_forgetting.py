"""What is to be forgotten goes from the sink as well, also when that was away, and does not come back."""

from datetime import timedelta

import pytest
from tests import object_store
from tests.adapters.sinks.sending import AT, Project, row

from mainspring.adapters.parquet.forgetting import LogForgetting
from mainspring.adapters.sinks.check import check
from mainspring.adapters.sinks.forgetting import SunkForgetting
from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import TemporaryError

HOUR = timedelta(hours=1)


def forgettings(one):
    local = LogForgetting(one.log, one.paths.predictions, one.paths.segments, Concealment((), (), b"k" * 32))
    return local, SunkForgetting(one.shipper, local)


def test_rows_go_here_and_there_and_stay_away(project, s3):
    sink = {"url": project.settings.url, "local": "1h"}
    one = Project(project.paths.root, sink, s3.settings())
    one.answer(row("a"), row("b", user="ida"), row("c", minutes=70), row("d", minutes=200, user="ida"))
    one.shipper.turn(AT + 4 * HOUR)
    assert one.shipper.turn(AT + 4.5 * HOUR).let_go == 2
    one.answer(row("late", minutes=5), row("later", minutes=201))
    local, sunk = forgettings(one)
    terms = local.hashed({"user": ["eva"]})
    assert "entity.user" in sunk.columns()
    assert sunk.count(terms) == 2
    asked = local.carry_out(local.ask(terms, actor="eva", why=""))
    assert asked.total == 2
    # The loop goes on to send in between.
    one.shipper.turn(AT + 5 * HOUR)
    assert sunk.carry_out(terms) == 2
    local.forget_request(asked)
    assert sunk.carry_out(terms) == 0
    for hours in range(6, 9):
        one.shipper.turn(AT + hours * HOUR, everything=True)
    assert one.there() == ["b", "d"]
    assert [hour.at.hour for hour in one.store.hours()] == [12, 15]
    assert check(one.log, one.store, one.shipper.state, rows=True).fine


def test_a_sink_that_is_away_is_forgotten_in_later(project, s3):
    project.answer(row("a"), row("b", user="ida"))
    project.shipper.turn(AT + 2 * HOUR)
    wire = object_store.Wire(1)  # nobody is behind it
    away = Project(project.paths.root, project.settings.url, s3.settings(endpoint=wire.endpoint, timeout="1s"))
    local, sunk = forgettings(away)
    asked = local.carry_out(local.ask(local.hashed({"user": ["eva"]}), actor="eva", why=""))
    with pytest.raises(TemporaryError):
        sunk.carry_out(asked.terms)
    wire.close()
    local, sunk = forgettings(project)
    (left,) = local.unfinished()
    assert sunk.carry_out(local.carry_out(left).terms) == 1
    assert project.there() == ["b"]
