"""A project's channels: tried by hand, seen to fail, and never in plain text in its file."""

import time
from dataclasses import replace

import pytest

from mainspring.adapters.notify.outbox import Outbox
from mainspring.domain.errors import ConfigError
from mainspring.platforms.doctor import examine
from mainspring.platforms.notifying import courier_of, told, troubles, try_all
from mainspring.settings.load import effective, load_project
from tests.adapters.notify.receivers import Receiver, alert

SHORTEST = """\
name: churn
task: binary
sources:
  customers: {path: customers.csv}
target: {source: customers, column: churned}
"""


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.close()


def project(folder, text, **environ):
    (folder / "mainspring.yaml").write_text(SHORTEST + text)
    return load_project(folder, environ)


def test_every_channel_is_tried_and_says_what_happened(tmp_path, receiver):
    text = """notify:
  webhook: {url: "${HOOK}"}
  email: {host: localhost, port: 9, security: none, sender: a@example.com, to: [b@example.com]}
"""
    loaded = project(tmp_path, text, HOOK=receiver.url)
    webhook, mail = try_all(loaded)
    assert (webhook.channel, webhook.sent, webhook.said) == ("webhook", True, "")
    assert "this is a test" in receiver.texts[0]
    assert (mail.channel, mail.sent) == ("email", False)
    assert "refused" in mail.said
    with pytest.raises(ConfigError, match="no channel"):
        try_all(project(tmp_path, ""))


def test_what_does_not_get_through_is_seen(tmp_path):
    loaded = project(tmp_path, 'notify: {webhook: {url: "${HOOK}"}}', HOOK="http://localhost:9/very-secret")
    assert troubles(loaded.paths) == []
    assert told(loaded, 5) == []
    assert examine(loaded)[-1].fine
    outbox, now = Outbox(loaded.paths.alerts), time.time()
    outbox.put(alert(), ["webhook"], now=now)
    outbox.failed(outbox.due("webhook", now=now)[0], "answered 500", now=now, again_at=now + 5)
    [found] = troubles(loaded.paths)
    assert "webhook fails since" in found
    assert found.endswith("1 alerts are tried again; answered 500")
    assert told(loaded, 5)[0].deliveries == {"webhook": "failing after 1 tries: answered 500"}
    last = examine(loaded, troubles(loaded.paths))[-1]
    assert (last.fine, last.remedy) == (False, "mainspring notify --test")


def test_an_address_in_plain_text_is_refused_and_never_shown(tmp_path):
    address = "https://hooks.example.com/T0/B0/very-secret"
    with pytest.raises(ConfigError, match=r"write \$\{WEBHOOK_URL\}") as error:
        project(tmp_path, f"notify: {{webhook: {{url: '{address}'}}}}")
    assert "very-secret" not in str(error.value)
    loaded = project(tmp_path, 'notify: {webhook: {url: "${HOOK}"}}', HOOK=address)
    assert not [row for row in effective(loaded) if "very-secret" in row.value]
    with pytest.raises(ConfigError, match="no http or https address") as error:
        project(tmp_path, 'notify: {webhook: {url: "${HOOK}"}}', HOOK="ftp://x/very-secret")
    assert "very-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("email: {host: h, sender: a@b, to: [nobody]}", "no e-mail address"),
        ("email: {host: h, sender: a@b, to: []}", "notify.email.to"),
        ("email: {host: h, sender: a@b, to: [c@d], user: u}", "belong together"),
        ('email: {host: h, sender: a@b, to: [c@d], user: u, password: "${P}", security: none}', "clear text"),
        ("on: [alarms]", "notify.on"),
        ('quiet: {start: "25:00"}', "no time of the day"),
        ("quiet: {time_zone: Berlin}", "no time zone"),
        ('webhook: {url: "${U}", secret: "${P}"}', "shorter than 16"),
    ],
)
def test_what_cannot_work_is_refused_at_once(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        project(tmp_path, f"notify:\n  {text}\n", P="hunter2", U="http://localhost/")


def test_a_damaged_outbox_is_put_aside_and_the_loop_goes_on(tmp_path):
    loaded = project(tmp_path, "")
    loaded.paths.alerts.parent.mkdir()
    loaded.paths.alerts.write_bytes(b"no database at all" * 100)
    said = []
    courier, _ = courier_of(loaded, said.append)
    courier.start()
    courier.notify(alert())
    assert "is damaged" in said[0]
    assert [one.alert.id for one in told(loaded, 5)] == ["alarm:1"]
    assert len([*loaded.paths.state.glob("alerts.db.damaged-*")]) == 1
    courier.notify(replace(alert(), id="alarm:2"))
    courier.close()
