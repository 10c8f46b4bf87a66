"""Alerts by a real SMTP server."""

import email
import email.policy

import pytest
from tests.adapters.notify.receivers import alert

from mainspring.adapters.notify.channel import NotDelivered
from mainspring.adapters.notify.email import Email
from mainspring.settings.notify import EmailSettings


def channel(port, **more):
    found = {
        "host": "localhost",
        "port": port,
        "sender": "churn@example.com",
        "to": ["ops@example.com"],
        "timeout": "2s",
    }
    return Email(EmailSettings.model_validate(found | more), "churn")


LOGIN = {"user": "churn", "password": "right-password"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_message_says_everything_and_nothing_that_stays_here(mail_server, certificate, monkeypatch, security):
    box, port = mail_server(security)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    login = LOGIN if security == "starttls" else {}
    sent = alert(sure="5 % of clean windows", detail="row 7 has Erika Mustermann", severity="critical")
    for _ in range(2):
        assert channel(port, security=security, **login).send(sent, "msg_1") == ""
    found = [email.message_from_string(one, policy=email.policy.default) for one in box.messages]
    assert found[0]["Subject"] == "[churn] critical: temp drifted"
    assert found[0]["Message-ID"] == found[1]["Message-ID"] == "<msg_1@mainspring.invalid>"
    text = found[0].get_content()
    for said in ("since: 2026-03-01 12:00 UTC", "how sure: 5 % of clean windows", "the loop will: retrain"):
        assert said in text
    assert "look closer: mainspring drift" in text
    assert "Erika" not in box.messages[0]


def test_what_a_server_says_is_told(mail_server, certificate, monkeypatch):
    box, port = mail_server("starttls")
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        channel(port, **LOGIN).send(alert(), "msg_1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with pytest.raises(NotDelivered, match="the server said 530"):
        channel(port).send(alert(), "msg_1")
    assert not box.messages


def test_clear_text_is_not_sent_where_tls_was_asked_for(mail_server):
    box, port = mail_server("none")
    with pytest.raises(NotDelivered, match="STARTTLS"):
        channel(port).send(alert(), "msg_1")
    assert not box.messages
    assert channel(port, security="none").send(alert(), "msg_1") == ""
    assert len(box.messages) == 1


def test_refused_addresses_are_counted_and_not_named(mail_server):
    box, port = mail_server("none")
    box.refused = ("gone@example.com",)
    both = channel(port, security="none", to=["ops@example.com", "gone@example.com"])
    assert both.send(alert(), "msg_1") == "1 of 2 addresses were refused"
    assert len(box.messages) == 1
    with pytest.raises(NotDelivered, match="none of 1 addresses"):
        channel(port, security="none", to=["gone@example.com"]).send(alert(), "msg_2")


def test_a_server_that_is_away_or_says_nothing(mail_server):
    import socket

    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        port = silent.getsockname()[1]
        with pytest.raises(NotDelivered, match="refused"):
            channel(port, security="none").send(alert(), "msg_1")
        silent.listen()
        with pytest.raises(NotDelivered, match=r"no answer within 0\.3 s|timed out"):
            channel(port, security="none", timeout="0.3s").send(alert(), "msg_1")
