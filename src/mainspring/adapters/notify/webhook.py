"""`Webhook`: alerts posted as JSON, signed as Standard Webhooks has it (https://www.standardwebhooks.com, version 1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mainspring.adapters.notify.channel import NotDelivered
from mainspring.adapters.notify.words import parts, title
from mainspring.domain.codec import to_json
from mainspring.domain.decision import Alert
from mainspring.settings.notify import WebhookSettings

_SIGNS = {"critical": ":red_circle:", "warning": ":large_yellow_circle:", "info": ":large_blue_circle:"}
_LONGEST_REASON = 120


class Webhook:
    """`Channel` to one address. Redirects are not followed: what is posted is for that address alone."""

    def __init__(self, settings: WebhookSettings, project: str) -> None:
        self._settings = settings
        self._project = project
        # It logs each request with its whole address.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def send(self, alert: Alert, key: str) -> str:
        """Post it; 2xx is sent, everything else is not."""
        import httpx

        body = self._body(alert, key)
        seconds = self._settings.timeout.total_seconds()
        try:
            with httpx.stream(
                "POST", self._settings.url, content=body, headers=self._headers(key, body), timeout=seconds
            ) as answer:
                if answer.is_success:
                    return ""
                said = _first_words(next(answer.iter_bytes(), b""))
        except httpx.TimeoutException as error:
            raise NotDelivered(f"no answer within {seconds:g} s") from error
        except httpx.ConnectError as error:
            raise NotDelivered(f"no connection: {error}"[:_LONGEST_REASON]) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Whose text may quote the address.
            raise NotDelivered(f"the connection failed ({type(error).__name__})") from error
        moved = "; redirects are not followed: give the new address" if answer.is_redirect else ""
        reason = f"answered {answer.status_code}{f' ({said})' if said else ''}{moved}"
        raise NotDelivered(reason, _asked_seconds(answer.headers.get("retry-after")))

    def _body(self, alert: Alert, key: str) -> bytes:
        if self._settings.format == "slack":
            return to_json({"text": slack_text(alert, self._project)})
        found: dict[str, Any] = {
            "id": key,
            "type": alert.kind,
            "timestamp": alert.at,
            "project": self._project,
            "severity": alert.severity,
            "what": title(alert, self._project).partition(": ")[2],
            "since": alert.since or alert.at,
            "how_sure": alert.sure,
            "loop_will": alert.loop_will,
            "look_closer": alert.next_step,
        }
        return to_json(found)

    def _headers(self, key: str, body: bytes) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": "mainspring", "idempotency-key": key}
        if self._settings.secret is not None:
            at = int(time.time())
            signature = sign(self._settings.secret, key, at, body)
            headers |= {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": signature}
        return headers


def sign(secret: str, key: str, at: int, body: bytes) -> str:
    """The header `webhook-signature` of a body that is sent at `at` (seconds since 1970).

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    digest = hmac.new(_key_of(secret), f"{key}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def slack_text(alert: Alert, project: str) -> str:
    """The alert in Slack's markup. `&`, `<` and `>` are escaped: a text that calls everybody in a channel calls nobody.

    >>> at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> print(slack_text(Alert("alarm:1", "<!here> drifted", at, "warning", "mainspring drift"), "rain"))
    :large_yellow_circle: [rain] warning: &lt;!here&gt; drifted
    • since: 2026-03-01 12:00 UTC
    • look closer: `mainspring drift`
    """
    lines = [f"{_SIGNS[alert.severity]} {title(alert, project)}"]
    lines += [f"• {name}: {f'`{text}`' if name == 'look closer' else text}" for name, text in parts(alert)]
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _key_of(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass  # A text that only begins like one.
    return secret.encode()


def _asked_seconds(header: str | None) -> float | None:
    """`Retry-After`: seconds, or a date; None for what is neither.

    >>> _asked_seconds("30"), _asked_seconds("soon"), _asked_seconds("Thu, 01 Jan 1970 00:00:00 GMT")
    (30.0, None, 0.0)
    """
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _first_words(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return "".join(one for one in text if one.isprintable() and one not in "<>")[:_LONGEST_REASON]
