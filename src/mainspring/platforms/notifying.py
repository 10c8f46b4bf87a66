"""The channels that a project's alerts go through, their courier, a test of each, and how they fare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mainspring.adapters.notify.channel import Channel, NotDelivered
from mainspring.adapters.notify.courier import Courier
from mainspring.adapters.notify.email import Email
from mainspring.adapters.notify.outbox import Delivery, Outbox
from mainspring.adapters.notify.webhook import Webhook
from mainspring.domain.decision import Alert
from mainspring.domain.errors import ConfigError, DataError
from mainspring.settings.load import LoadedProject
from mainspring.settings.paths import ProjectPaths

_TROUBLED_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a test message. `said` is the failure, or what was odd."""

    channel: str
    sent: bool
    said: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """An alert and how it fared, by channel: `sent`, `waiting`, `failing` or `given_up`, and what was said."""

    alert: Alert
    deliveries: dict[str, str]


def channels_of(loaded: LoadedProject) -> dict[str, Channel]:
    """The project's channels, by the name that metrics and `mainspring alerts` have for them."""
    notify, name = loaded.settings.notify, loaded.settings.name
    found: dict[str, Channel] = {}
    if notify.webhook is not None:
        found["webhook"] = Webhook(notify.webhook, name)
    if notify.email is not None:
        found["email"] = Email(notify.email, name)
    return found


def courier_of(loaded: LoadedProject, tell: Callable[[str], None]) -> tuple[Courier, Outbox]:
    """What a running loop sends with, not started yet. An outbox that is no outbox any more is put aside."""
    path = loaded.paths.alerts
    try:
        outbox = Outbox(path)
    except DataError as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time():.0f}")
        path.replace(aside)
        tell(f"{error.what}; it is put aside as {aside.name}, and what was in it is not sent")
        outbox = Outbox(path)
    return Courier(outbox, channels_of(loaded), loaded.settings.notify, tell), outbox


def try_all(loaded: LoadedProject) -> list[Tried]:
    """Send a test message through every channel, now, whatever `on` and `quiet` say. Errors: `ConfigError` without a channel."""
    channels = channels_of(loaded)
    if not channels:
        raise ConfigError(
            "the project has no channel: alerts go to standard error and .mainspring/alerts.jsonl alone",
            where="mainspring.yaml: notify",
            valid="notify.webhook, notify.email",
            next_step="mainspring schema notify",
        )
    now = datetime.now(UTC)
    alert = Alert(
        f"test:{now.isoformat()}",
        "this is a test: somebody tries the channels",
        now,
        "info",
        "mainspring notify --test",
        "do nothing",
        sure="certain: it was asked for",
    )
    outbox = Outbox(loaded.paths.alerts)
    return [_try(name, one, alert, outbox.key(alert)) for name, one in channels.items()]


def told(loaded: LoadedProject, last: int) -> list[Told]:
    """The newest alerts, oldest first."""
    if not loaded.paths.alerts.is_file():
        return []
    rows = Outbox(loaded.paths.alerts).alerts(last)
    return [Told(alert, {one.channel: in_words(one) for one in deliveries}) for alert, deliveries in rows]


def troubles(paths: ProjectPaths) -> list[str]:
    """What does not get through, by channel, in words; nothing where all does."""
    if not paths.alerts.is_file():
        return []
    found: dict[str, list[Delivery]] = {}
    for one in Outbox(paths.alerts).troubled(since=time.time() - _TROUBLED_SECONDS):
        found.setdefault(one.channel, []).append(one)
    return [_trouble(channel, rows) for channel, rows in found.items()]


def in_words(one: Delivery) -> str:
    """How a delivery fares."""
    said = f": {one.said}" if one.said else ""
    if one.state == "failing":
        return f"failing after {one.tries} tries{said}"
    return f"{one.state.replace('_', ' ')}{said}"


def _try(name: str, channel: Channel, alert: Alert, key: str) -> Tried:
    began = time.monotonic()
    try:
        said, sent = channel.send(alert, key), True
    except NotDelivered as error:
        said, sent = error.reason, False
    return Tried(name, sent, said, round(time.monotonic() - began, 2))


def _trouble(channel: str, rows: Sequence[Delivery]) -> str:
    failing = [one for one in rows if one.state == "failing"]
    given_up = len(rows) - len(failing)
    counts = [f"{len(failing)} alerts are tried again" if failing else "", f"{given_up} given up" if given_up else ""]
    began = min(one.first_at for one in rows if one.first_at is not None) if any(one.first_at for one in rows) else None
    since = f" since {datetime.fromtimestamp(began, UTC):%Y-%m-%d %H:%M} UTC" if began is not None else ""
    return f"{channel} fails{since}: {', '.join(filter(None, counts))}; {rows[0].said}"
