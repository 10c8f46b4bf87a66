"""Alerts posted to a real HTTP server."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError
from tests.adapters.notify.receivers import alert

from mainspring.adapters.notify.channel import NotDelivered
from mainspring.adapters.notify.webhook import Webhook
from mainspring.settings.notify import WebhookSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


def channel(url, **more):
    return Webhook(WebhookSettings.model_validate({"url": url, "timeout": "1s"} | more), "churn")


def documented_check():
    """The function that docs/alerts.md gives to receivers."""
    text = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()
    found = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], found)
    return found["check"]


def test_slack_gets_a_text_that_calls_nobody(receiver):
    sent = alert(severity="critical", sure="certain <!channel> & <@U1>", detail="row 7 has Erika Mustermann")
    assert channel(receiver.url).send(sent, "msg_1") == ""
    _, path, headers, body = receiver.got[0]
    assert (path, headers["content-type"], headers["idempotency-key"]) == (
        "/hook/very-secret",
        "application/json",
        "msg_1",
    )
    assert "webhook-signature" not in headers
    assert json.loads(body) == {
        "text": ":red_circle: [churn] critical: temp drifted\n• since: 2026-03-01 12:00 UTC\n"
        "• how sure: certain &lt;!channel&gt; &amp; &lt;@U1&gt;\n• the loop will: retrain\n• look closer: `mainspring drift`"
    }


@pytest.mark.parametrize("secret", [SECRET, "a text of one's own"])
def test_a_receiver_can_check_who_sent_it(receiver, secret):
    channel(receiver.url, secret=secret, format="json").send(alert(detail="row 7 has Erika Mustermann"), "msg_1")
    _, _, headers, body = receiver.got[0]
    theirs = StandardWebhook(secret if secret == SECRET else secret.encode())
    assert theirs.verify(body, headers)["what"] == "temp drifted"
    with pytest.raises(WebhookVerificationError):
        theirs.verify(body.replace(b"temp", b"wind"), headers)
    assert json.loads(body) == {
        "id": "msg_1", "type": "alarm", "timestamp": "2026-03-01T12:00:00Z", "project": "churn", "severity": "warning",
        "what": "temp drifted", "since": "2026-03-01T12:00:00Z", "how_sure": "", "loop_will": "retrain",
        "look_closer": "mainspring drift",
    }  # fmt: skip


def test_the_documented_check_holds_and_refuses(receiver):
    check = documented_check()
    channel(receiver.url, secret=SECRET).send(alert(), "msg_1")
    _, _, headers, body = receiver.got[0]
    assert check(SECRET, headers, body)
    assert not check(SECRET, headers, body + b" ")
    assert not check(SECRET, headers | {"webhook-id": "msg_2"}, body)
    assert not check("whsec_" + "A" * 44, headers, body)
    old = str(int(time.time()) - 301)
    assert not check(SECRET, headers | {"webhook-timestamp": old}, body)


def test_a_redirect_is_not_followed(receiver):
    receiver.answers = [(302, {"location": receiver.url.replace("hook", "elsewhere")})]
    with pytest.raises(NotDelivered, match=r"answered 302.*redirects are not followed"):
        channel(receiver.url).send(alert(), "msg_1")
    assert len(receiver.got) == 1


def test_what_a_receiver_asks_for_is_heard(receiver):
    asked = []
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for header in ("30", at, "soon"):
        receiver.answers = [(429, {"retry-after": header})]
        with pytest.raises(NotDelivered, match="answered 429") as error:
            channel(receiver.url).send(alert(), "msg_1")
        asked.append(error.value.again_seconds)
    assert asked[0] == 30
    assert 85 < asked[1] <= 90
    assert asked[2] is None


def test_no_failure_quotes_the_address(receiver):
    receiver.answers = [404, receiver.hang]
    said = []
    for url in (
        receiver.url,
        receiver.url,
        "http://127.0.0.1:9/very-secret",
        "http://no.such.host.invalid/very-secret",
    ):
        with pytest.raises(NotDelivered) as error:
            channel(url, timeout="0.3s").send(alert(), "msg_1")
        said.append(error.value.reason)
    assert said[0] == "answered 404 (bno service/b)"
    assert said[1] == "no answer within 0.3 s"
    assert "refused" in said[2]
    assert not [one for one in said if "very-secret" in one]


def test_a_long_alert_is_cut(receiver):
    receiver.answers = [200]
    channel(receiver.url).send(alert(sure="x" * 100_000), "msg_1")
    assert len(receiver.got[0][3]) < 4_000
