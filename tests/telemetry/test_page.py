"""The registry of metrics, and the page that shows no other."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from mainspring.domain.errors import ConfigError
from mainspring.telemetry.page import MetricsPage
from mainspring.telemetry.registry import DEFINITIONS, LOG_ROWS, LOOP_TICK_LATENCY


@pytest.fixture
def page():
    found = MetricsPage()
    found.serve(0)
    yield found
    found.close()


def test_names_say_noun_and_measure_and_a_counter_ends_in_total():
    for one in DEFINITIONS.values():
        assert re.fullmatch(r"mainspring(_[a-z]+){2,}", one.name), one.name
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert bool(one.bounds) == (one.kind == "histogram"), one.name
        assert one.help.endswith("."), one.name


def test_what_is_not_registered_cannot_be_shown(page):
    with pytest.raises(KeyError):
        page.counter(replace(LOG_ROWS, name="mainspring_own_idea_total"))
    with pytest.raises(KeyError):
        page.counter(replace(LOG_ROWS, help="Something else."))
    with pytest.raises(KeyError):
        page.gauge(LOG_ROWS)


def test_a_page_has_the_names_as_registered_and_no_others(page):
    page.counter(LOG_ROWS).inc(3)
    page.histogram(LOOP_TICK_LATENCY).observe(0.02)
    with urlopen(f"http://127.0.0.1:{page._server.server_port}/metrics") as answer:
        text = answer.read().decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == {LOG_ROWS.name, LOOP_TICK_LATENCY.name}
    assert "mainspring_log_rows_total 3.0" in text
    assert 'mainspring_loop_latency_seconds_bucket{le="0.025"} 1.0' in text


def test_a_port_in_use_is_named(page):
    with pytest.raises(ConfigError, match=r"port \d+ is in use") as error:
        MetricsPage().serve(page._server.server_port)
    assert error.value.where == "mainspring.yaml: serving.metrics_port"


def test_every_metric_is_documented_as_it_is_registered():
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    rows = {line for line in text.splitlines() if line.startswith("| `mainspring_")}
    assert rows == {f"| `{d.name}` | {d.kind} | {', '.join(d.labels)} | {d.help} |" for d in DEFINITIONS.values()}
