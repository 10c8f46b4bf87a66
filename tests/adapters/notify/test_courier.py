"""Alerts that reach people although receivers fail, hang, ask to be left alone, and the process is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from tests.adapters.notify.receivers import alert, until

from mainspring.adapters.notify.channel import NotDelivered
from mainspring.adapters.notify.courier import Courier
from mainspring.adapters.notify.outbox import Outbox
from mainspring.adapters.notify.webhook import Webhook
from mainspring.domain.errors import DataError, TemporaryError
from mainspring.settings.notify import NotifySettings, WebhookSettings


class Recorder:
    """A channel that takes everything, or fails with what it was given."""

    def __init__(self, *failures):
        self.got, self.failures = [], list(failures)

    def send(self, one, key):
        if self.failures:
            raise NotDelivered(*self.failures.pop(0))
        self.got.append((one, key))
        return ""


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "alerts.db")


@pytest.fixture
def courier(outbox):
    """Starts couriers that try again soon; what they tell is in `told`."""
    made, told = [], []

    def start(channels, **more):
        options = {name: more.pop(name) for name in ("now", "first_seconds") if name in more}
        settings = NotifySettings.model_validate(more)
        one = Courier(outbox, channels, settings, told.append, **{"first_seconds": 0.05} | options)
        one.start()
        made.append(one)
        return one

    start.told = told
    yield start
    for one in made:
        one.close()


def webhook(url, timeout="1s"):
    return Webhook(WebhookSettings(url=url, secret="a text of one's own", timeout=timeout), "churn")


def states(outbox):
    return {
        (one.alert.id, one.channel): one.state for _, deliveries in outbox.alerts(100) for one in deliveries
    }  # fmt: skip


def test_what_failed_is_tried_again_with_the_same_key_and_is_told_once(outbox, courier, receiver):
    receiver.answers = [500, 500, 200]
    courier({"webhook": webhook(receiver.url)}).notify(alert())
    until(lambda: states(outbox) == {("alarm:1", "webhook"): "sent"})
    assert len(receiver.keys) == 3
    assert len(set(receiver.keys)) == 1
    # The pause doubles.
    times = [at for at, *_ in receiver.got]
    assert times[1] - times[0] > 0.04
    assert times[2] - times[1] > 0.08
    until(lambda: len(courier.told) == 2)
    assert "answered 500" in courier.told[0]
    assert courier.told[1] == "alerts get through by webhook again"


def test_a_channel_that_hangs_keeps_neither_the_loop_nor_another_channel(outbox, courier, receiver):
    receiver.answers = [receiver.hang]
    other = Recorder()
    one = courier({"webhook": webhook(receiver.url, timeout="5s"), "other": other})
    began = time.monotonic()
    for number in range(5):
        one.notify(alert(f"alarm:{number}"))
    assert time.monotonic() - began < 0.5
    until(lambda: len(other.got) == 5)
    assert time.monotonic() - began < 2
    assert [sent.id for sent, _ in other.got] == [f"alarm:{number}" for number in range(5)]
    # The end of the loop does not wait for it either.
    receiver_busy = time.monotonic()
    one.close(seconds=0.2)
    assert time.monotonic() - receiver_busy < 1


def test_a_receiver_that_asks_to_be_left_alone_is(outbox, courier, receiver):
    receiver.answers = [(429, {"retry-after": "1"}), 200]
    one = courier({"webhook": webhook(receiver.url)})
    for number in range(3):
        one.notify(alert(f"alarm:{number}"))
    until(lambda: len(receiver.got) == 4)
    times = [at for at, *_ in receiver.got]
    assert times[1] - times[0] > 0.9


def test_an_alert_is_sent_once_whoever_notes_it_again(outbox, courier):
    channel = Recorder()
    one = courier({"webhook": channel})
    for _ in range(3):
        one.notify(alert())
    until(lambda: channel.got)
    time.sleep(0.1)
    assert len(channel.got) == 1


def test_what_is_given_up_is_told_loudly_and_by_the_other_channel(outbox, courier):
    dead, other = Recorder(*[("answered 500",)] * 1000), Recorder()
    courier({"webhook": dead, "email": other}, give_up_after="0.3s").notify(alert())
    until(lambda: states(outbox).get(("alarm:1", "webhook")) == "given_up")
    until(lambda: len(other.got) == 2)
    assert other.got[1][0].kind == "undelivered"
    assert "webhook did not take it" in other.got[1][0].what
    assert any(text.startswith("an alert was given up") for text in courier.told)
    assert ("undelivered:webhook:alarm:1", "webhook") not in states(outbox)
    assert [one.channel for one in outbox.troubled(since=time.time() - 60)] == ["webhook"]
    assert not outbox.troubled(since=time.time() + 60)


def test_only_what_was_asked_for_is_sent_and_all_is_kept(outbox, courier):
    channel = Recorder()
    one = courier({"webhook": channel}, on=["rolled_back"])
    one.notify(alert("alarm:1"))
    one.notify(alert("rolled_back:1"))
    until(lambda: channel.got)
    assert [sent.id for sent, _ in channel.got] == ["rolled_back:1"]
    assert [one.id for one, _ in outbox.alerts(10)] == ["alarm:1", "rolled_back:1"]


def test_in_quiet_hours_only_what_is_critical_goes_out(outbox, courier):
    clock = [datetime(2026, 3, 1, 22, 30, tzinfo=UTC).timestamp()]
    channel = Recorder()
    quiet = {"start": "23:00", "end": "06:30", "time_zone": "Europe/Berlin"}
    one = courier({"webhook": channel}, quiet=quiet, now=lambda: clock[0])
    one.notify(alert("alarm:1"))
    one.notify(alert("rolled_back:1", "critical"))
    until(lambda: channel.got)
    time.sleep(0.1)
    assert [sent.id for sent, _ in channel.got] == ["rolled_back:1"]
    clock[0] = datetime(2026, 3, 2, 5, 29, tzinfo=UTC).timestamp()
    one.notify(alert("rolled_back:2", "critical"))
    until(lambda: len(channel.got) == 2)
    clock[0] = datetime(2026, 3, 2, 5, 31, tzinfo=UTC).timestamp()
    one.notify(alert("promoted:1", "info"))  # Not asked for; it wakes the channel.
    until(lambda: len(channel.got) == 3)
    assert channel.got[2][0].id == "alarm:1"


def test_killed_between_the_answer_and_its_note_it_is_sent_again_with_the_same_key(tmp_path, outbox, receiver, courier):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from mainspring.adapters.notify.courier import Courier\nfrom mainspring.adapters.notify.outbox import Outbox\n"
        "from mainspring.adapters.notify.webhook import Webhook\n"
        "from mainspring.settings.notify import NotifySettings, WebhookSettings\n"
        "channel = Webhook(WebhookSettings(url=sys.argv[2]), 'churn')\n"
        "Courier(Outbox(Path(sys.argv[1])), {'webhook': channel}, NotifySettings(), print).start()\ntime.sleep(60)\n"
    )
    outbox.put(alert(), ["webhook"], now=time.time())
    killed = []

    def kill():
        killed.append(os.kill(process.pid, signal.SIGKILL))
        return 200

    receiver.answers = [kill, 200]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "alerts.db"), receiver.url])
    assert process.wait(20) == -signal.SIGKILL
    assert states(outbox) == {("alarm:1", "webhook"): "waiting"}
    courier({"webhook": webhook(receiver.url)})
    until(lambda: states(outbox) == {("alarm:1", "webhook"): "sent"})
    assert killed
    assert len(receiver.keys) == 2
    assert len(set(receiver.keys)) == 1


def test_a_channel_that_is_gone_is_given_up_at_the_next_start(outbox, courier):
    outbox.put(alert(), ["webhook"], now=time.time())
    courier({"email": Recorder()})
    assert states(outbox) == {("alarm:1", "webhook"): "given_up"}
    assert "not in mainspring.yaml any more" in courier.told[0]


def test_another_state_folder_has_other_keys(tmp_path, outbox):
    assert outbox.key(alert()) == Outbox(tmp_path / "alerts.db").key(alert())
    assert outbox.key(alert()) != Outbox(tmp_path / "another" / "alerts.db").key(alert())


def test_what_is_old_and_done_is_forgotten(outbox):
    day, now = 86_400.0, 100 * 86_400.0
    outbox.put(alert("alarm:1"), ["webhook"], now=now - 91 * day)
    outbox.put(alert("alarm:2"), ["webhook"], now=now - 91 * day)
    outbox.put(alert("alarm:3"), [], now=now - 91 * day)
    outbox.put(alert("alarm:4"), [], now=now - 89 * day)
    outbox.sent(outbox.due("webhook", now=now)[0], "", now=now - 90.5 * day)
    outbox.start(["webhook"], now=now)
    assert [one.id for one, _ in outbox.alerts(10)] == ["alarm:2", "alarm:4"]


def test_an_outbox_that_cannot_be_written_says_so_for_now(tmp_path, outbox, monkeypatch):
    monkeypatch.setattr("mainspring.adapters.notify.outbox._BUSY_SECONDS", 0.05)
    with sqlite3.connect(tmp_path / "alerts.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TemporaryError, match="locked"):
            outbox.put(alert(), [], now=0.0)
        other.execute("ROLLBACK")
    other.close()
    assert outbox.put(alert(), [], now=0.0)


def test_an_outbox_that_is_none_is_not_written_over(tmp_path):
    (tmp_path / "alerts.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="damaged"):
        Outbox(tmp_path / "alerts.db")
