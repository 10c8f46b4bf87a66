"""`Courier`: brings what is in the outbox through the channels, each in a thread of its own.

A channel that hangs, fails or is slow keeps nothing waiting but its own alerts: not another channel, and never the loop's tick.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mainspring.adapters.notify.channel import Channel, NotDelivered
from mainspring.adapters.notify.outbox import Delivery, Outbox
from mainspring.domain.decision import Alert
from mainspring.domain.errors import MainspringError
from mainspring.domain.time import duration_in_words
from mainspring.settings.notify import NotifySettings, QuietSettings

FIRST_SECONDS, LONGEST_SECONDS = 5.0, 900.0
"""The first pause after a failure, and the longest; each is twice the one before, give or take a tenth."""
_LONGEST_ASKED_SECONDS = 3_600.0
_LOOK_SECONDS = 30.0


class Courier:
    """`Notifier` over an outbox: an alert is kept before `notify` returns, and sent from there.

    `tell` hears what a person has to know of the channels themselves, in words. `now` is a wall clock in seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        settings: NotifySettings,
        tell: Callable[[str], None],
        *,
        now: Callable[[], float] = time.time,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._outbox, self._channels, self._settings = outbox, dict(channels), settings
        self._tell, self._now, self._first_seconds = tell, now, first_seconds
        self._ending = threading.Event()
        self._wake = {name: threading.Event() for name in self._channels}
        self._threads: list[threading.Thread] = []
        self._told: dict[str, str] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._channels)

    def notify(self, alert: Alert) -> None:
        """Keep it, for the channels that want its kind. Errors: `TemporaryError` when it cannot be kept."""
        wanted = [*self._channels] if alert.kind in self._settings.on else []
        self._outbox.put(alert, wanted, now=self._now())
        for one in self._wake.values():
            one.set()

    def start(self) -> None:
        """Begin to send; what an earlier process left is tried at once."""
        gone = self._outbox.start([*self._channels], now=self._now())
        if gone:
            self._tell(f"{len(gone)} alerts were given up: their channel is not in mainspring.yaml any more")
        for name in self._channels:
            thread = threading.Thread(target=self._run, args=(name,), name=f"notify {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, seconds: float = 3.0) -> None:
        """Wait so long for what is being sent; the rest is sent after the next start."""
        self._ending.set()
        for one in self._wake.values():
            one.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, name: str) -> None:
        while True:
            self._wake[name].clear()
            last = self._ending.is_set()
            try:
                self._turn(name)
                next_at = self._outbox.next_at(name)
            except Exception as error:  # Whatever it is, this thread is the channel: it goes on.
                self._say(name, f"alerts cannot be sent by {name}: {_in_words(error)}")
                next_at = None
            if last:
                return
            pause = _LOOK_SECONDS if next_at is None else min(max(next_at - self._now(), 0.05), _LOOK_SECONDS)
            self._wake[name].wait(pause)

    def _turn(self, name: str) -> None:
        quiet_until = ends_at(self._settings.quiet, self._now())
        if quiet_until is not None:
            self._outbox.rest(name, quiet_until, unless_critical=True)
        for one in self._outbox.due(name, now=self._now()):
            if quiet_until is not None and one.alert.severity != "critical":
                continue  # It came this moment.
            # At the end of the loop only what has never been tried goes out still.
            if self._ending.is_set() and one.tries:
                continue
            if not self._deliver(one):
                return

    def _deliver(self, one: Delivery) -> bool:
        """Send one; False when the channel asked to be left alone."""
        try:
            odd = self._channels[one.channel].send(one.alert, self._outbox.key(one.alert))
        except NotDelivered as error:
            self._failed(one, error)
            return error.again_seconds is None
        self._outbox.sent(one, odd, now=self._now())
        if odd:
            self._say(one.channel, f"{one.channel}: {odd}")
        elif self._told.pop(one.channel, None) is not None:
            self._tell(f"alerts get through by {one.channel} again")
        return True

    def _failed(self, one: Delivery, error: NotDelivered) -> None:
        now = self._now()
        began = one.first_at if one.first_at is not None else now
        if now - began >= self._settings.give_up_after.total_seconds():
            self._give_up(one, error.reason, now)
            return
        pause = min(self._first_seconds * 2.0 ** min(one.tries, 30), LONGEST_SECONDS) * random.uniform(0.9, 1.1)  # noqa: S311
        if error.again_seconds is not None:
            asked = min(error.again_seconds, _LONGEST_ASKED_SECONDS)
            self._outbox.rest(one.channel, now + asked)
            pause = max(asked, self._first_seconds)
        self._outbox.failed(one, error.reason, now=now, again_at=now + pause)
        self._say(one.channel, f"an alert does not get through by {one.channel}: {error.reason}; it is tried again")

    def _give_up(self, one: Delivery, reason: str, now: float) -> None:
        self._outbox.gave_up(one, reason, now=now)
        tried = duration_in_words(timedelta(seconds=round(now - (one.first_at or now))))
        what = f"an alert was given up: {one.channel} did not take it within {tried} ({reason})"
        self._tell(f"{what}\n  it said: {one.alert.what}\n  next: mainspring notify --test")
        if one.alert.kind == "undelivered":
            return  # Of which nobody else is told: it would go round.
        others = [name for name in self._channels if name != one.channel and "undelivered" in self._settings.on]
        told = Alert(
            f"undelivered:{one.channel}:{one.alert.id}",
            what,
            datetime.fromtimestamp(now, UTC),
            "critical",
            "mainspring alerts, then mainspring notify --test",
            "go on, and try the next alert",
            since=datetime.fromtimestamp(one.first_at or now, UTC),
            sure=f"certain: it was tried {one.tries + 1} times",
        )
        self._outbox.put(told, others, now=now)
        for name in others:
            self._wake[name].set()

    def _say(self, channel: str, text: str) -> None:
        """Once, until it is another text or it works again."""
        if self._told.get(channel) != text:
            self._told[channel] = text
            self._tell(text)


def ends_at(quiet: QuietSettings | None, now: float) -> float | None:
    """When the quiet hours end that hold now, in seconds since 1970; None when it is not quiet.

    >>> night = QuietSettings(start="22:00", end="07:00")
    >>> at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp()
    >>> datetime.fromtimestamp(ends_at(night, at), UTC).isoformat(), ends_at(night, at - 2 * 3600)
    ('2026-03-02T07:00:00+00:00', None)
    """
    if quiet is None:
        return None
    here = datetime.fromtimestamp(now, ZoneInfo(quiet.time_zone))
    clock = f"{here:%H:%M}"
    over_night = quiet.start > quiet.end
    inside = (clock >= quiet.start or clock < quiet.end) if over_night else quiet.start <= clock < quiet.end
    if not inside:
        return None
    hour, minute = (int(part) for part in quiet.end.split(":"))
    end = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (end if clock < quiet.end else end + timedelta(days=1)).timestamp()


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, MainspringError) else type(error).__name__
