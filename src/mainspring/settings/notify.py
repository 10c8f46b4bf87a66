"""`notify:` of `mainspring.yaml`: who is told of what, through which channel, and when not."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from mainspring.domain.decision import AlertKind
from mainspring.settings.part import Duration, Part

TOLD: tuple[AlertKind, ...] = ("alarm", "run_failed", "rolled_back", "chore_failing", "undelivered")
"""What people are told of where the project does not say."""
_CLOCK = re.compile(r"^([01]\d|2[0-3]):[0-5]\d$")
_ADDRESS = re.compile(r"^[^@\s<>,]+@[^@\s<>,]+$")


class WebhookSettings(Part):
    """One address that alerts are posted to."""

    url: str
    """Where to post, as `${VARIABLE}`: who knows such an address may write there."""
    secret: str | None = None
    """What requests are signed with, as `${VARIABLE}`: `whsec_` and at least 24 bytes in base64, or any text of at least 16
    characters. None: not signed, as Slack and Mattermost have it, where the address is the secret."""
    format: Literal["slack", "json"] = "slack"
    """`slack`: a message for Slack, Mattermost, Rocket.Chat and what else takes Slack's. `json`: the alert's own fields."""
    timeout: Duration = timedelta(seconds=10)
    """The longest wait for a connection, and for an answer."""

    @model_validator(mode="after")
    def _usable(self) -> WebhookSettings:
        parts = urlsplit(self.url)
        # Not quoted: it is a secret.
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("notify.webhook.url is no http or https address")
        if self.secret is not None and len(self.secret) < 16:
            raise ValueError("notify.webhook.secret is shorter than 16 characters: it could be found by trying")
        return self


class EmailSettings(Part):
    """A mail server, and whom it brings alerts to."""

    host: str
    """The server's name."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """None: 587 with `starttls`, 465 with `tls`, 25 with `none`."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: begins in clear text and is refused where the server does not offer TLS. `tls`: TLS from the first byte.
    `none`: clear text, for a server on this machine; no password goes over it. Certificates are checked against the system's
    authorities, or the file in the variable SSL_CERT_FILE."""
    user: str | None = None
    """Who logs in. None: nobody."""
    password: str | None = None
    """The password, as `${VARIABLE}`."""
    sender: str
    """The address in `From`."""
    to: list[str] = Field(min_length=1)
    """Addresses."""
    timeout: Duration = timedelta(seconds=20)
    """The longest wait for each of the server's answers."""

    @model_validator(mode="after")
    def _usable(self) -> EmailSettings:
        for one in (self.sender, *self.to):
            if not _ADDRESS.match(one):
                raise ValueError(f"{one!r} is no e-mail address; valid: name@host")
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if self.password is not None and self.security == "none":
            raise ValueError("a password does not go over a connection in clear text; `security: starttls` or `tls`")
        return self

    @property
    def port_used(self) -> int:
        """The port, or the one that belongs to `security`."""
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.security]


class QuietSettings(Part):
    """Hours in which only what is critical goes out; the rest waits for their end."""

    start: str = "22:00"
    """The first minute, `HH:MM`. After `end`: the night between."""
    end: str = "07:00"
    """The first minute that is no longer quiet."""
    time_zone: str = "UTC"
    """An IANA name such as Europe/Berlin."""

    @field_validator("start", "end")
    @classmethod
    def _clock(cls, value: str) -> str:
        if not _CLOCK.match(value):
            raise ValueError(f"{value!r} is no time of the day; valid: HH:MM, such as 22:00")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone; valid: UTC, Europe/Berlin and other IANA names") from error
        return value


class NotifySettings(Part):
    """Channels beside standard error and `alerts.jsonl`, which get everything."""

    webhook: WebhookSettings | None = None
    """None: nothing is posted."""
    email: EmailSettings | None = None
    """None: no e-mail."""
    on: list[AlertKind] = Field(default_factory=lambda: [*TOLD])
    """What goes to the channels. `gate_refused` and `promoted` are there as well, and no alarm; `chore_failing`: a part of the
    loop fails for ten minutes; `undelivered`: another channel was given up on."""
    quiet: QuietSettings | None = None
    """None: at any hour."""
    give_up_after: Duration = timedelta(days=1)
    """How long after its first try an alert that does not get through is tried again. A day: somebody is at work by then."""
