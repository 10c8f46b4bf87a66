"""`mainspring up`: the whole loop in the foreground, until it is told to end.

It holds the lease, keeps a warm worker, ticks, and tells what happens. At its end callers are answered, predictors and
Envoy are stopped, and a run goes on where it was at the next start. Killed, it leaves what serves to the next one.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mainspring.adapters.clock import WallClock
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.platforms.lease import lease
from mainspring.platforms.telling import Line, Teller
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    from mainspring.adapters.kfp.worker import WarmWorker
    from mainspring.domain.decision import Alert
    from mainspring.loop import Platform, Tick
    from mainspring.loop.outcome import Outcome
    from mainspring.loop.setbacks import Setback
    from mainspring.platforms.sending import Sending
    from mainspring.ports import Clock, Notifier
    from mainspring.telemetry.page import MetricsPage

METRICS, SETBACKS = "metrics_address", "setbacks"
"""Ledger state that tells `mainspring status` where the loop's metrics are, and which chores fail."""
_WARM_SECONDS = 90.0
_COMPACT_SECONDS = 5.0
_LAST_SENDING_SECONDS = 10.0
_LABEL_SECONDS = 60.0
_PAUSE_SECONDS = {"soon": 0.1, "run": 0.5}
_STILL_SECONDS = (0.5, 1.0, 2.0)
_WATCHED = ("mainspring.yaml", "features.py", "transforms.py")


def up(loaded: LoadedProject, say: Callable[[Line], None]) -> None:
    """Turn the loop until SIGINT, SIGTERM or SIGHUP; a second of them does not wait for the tick that is under way.

    Errors: `ConflictError` when another loop holds the lease or took it over, `ConfigError` when a port is in use.
    """
    with lease(loaded.paths.lease), _ending() as ending, Teller(loaded.paths.state / "loop.log", say) as teller:
        settings = loaded.settings
        teller.say("start", f"{settings.name} ({settings.task}) in {loaded.paths.root.resolve()}")
        from mainspring.adapters.kfp.worker import warm_worker
        from mainspring.platforms.step import warm_modules

        with contextlib.ExitStack() as worker, _metrics(loaded, teller) as (page, address):
            running = _Running(loaded, teller, page, address)

            def warm() -> WarmWorker:
                return worker.enter_context(warm_worker(loaded.paths.state, warm_modules(loaded)))

            try:
                running.turn(ending, warm)
            except KeyboardInterrupt:
                teller.say("stop", "not waiting for the tick that is under way")
            running.close()
        teller.say("stop", "stopped; `mainspring up` goes on where this one was")


def with_workers(loaded: LoadedProject, workers: int) -> LoadedProject:
    """The project with so many processes for each version that is started from now on."""
    return replace(loaded, settings=loaded.settings.changed("serving", workers=workers))


class _Running:
    """A loop between its start and its end."""

    def __init__(self, loaded: LoadedProject, teller: Teller, page: MetricsPage, address: str) -> None:
        from mainspring.adapters.envoy.router import EnvoyRouter
        from mainspring.loop.failing import Failing
        from mainspring.loop.setbacks import Setbacks
        from mainspring.platforms.labelling import labels_of
        from mainspring.platforms.loop_metrics import LoopMetrics, PacedLog
        from mainspring.platforms.notifying import courier_of
        from mainspring.platforms.parts import laptop

        self._loaded, self._teller = loaded, teller
        self._metrics = metrics = LoopMetrics(page)
        self._setbacks = Setbacks(self._set_back, metrics.failed)
        self._failing = Failing()
        self._labels, self._labels_again = labels_of(loaded), 0.0
        self._ledger = SqliteLedger(loaded.paths.ledger)
        self._ledger.take_epoch()
        self._ledger.put_state({METRICS: address, SETBACKS: ""})
        router = EnvoyRouter(loaded.settings, loaded.paths)
        router.prepare()
        parts = laptop(loaded, WallClock(), quiet=True)
        self._conceal(parts)
        self._courier, self._outbox = courier_of(loaded, lambda text: teller.say("notify", text))

        def unanswered() -> int:
            found = parts.record_failures()
            metrics.unanswered(found)
            return found

        self._log = parts.log
        self._platform = replace(
            parts,
            ledger=self._ledger,
            router=router,
            log=PacedLog(parts.log, metrics, every_seconds=_COMPACT_SECONDS),
            record_failures=unanswered,
            notifier=_TellingNotifier([self._courier, parts.notifier], teller),
        )
        earlier = self._ledger.after(0)
        self._seen = earlier[-1][0] if earlier else 0
        metrics.decided([one for _, one in earlier])
        self._files = self._stamps()
        self._courier.start()
        self._sending = _sending(loaded, self._platform.clock, teller)

    def turn(self, ending: threading.Event, warm: Callable[[], WarmWorker]) -> None:
        """Tick until the end is asked for. `warm` starts the warm worker, and gives what waits for it.

        Where a run comes next, it is waited for; where something serves already, it must not take the cores from that.
        """
        from mainspring.loop import reconcile
        from mainspring.loop.state import RUN, rollout_of

        first = not rollout_of(self._ledger).stable
        # What was adopted is served without a run.
        adopted = first and any(one.verdict == "accepted" for one in self._platform.registry.versions())
        started = (first and not adopted) or bool(self._ledger.state(RUN))
        worker = None
        if started:
            worker = warm()
            self._wait_warm(worker, ending)
        still = 0
        while not ending.is_set():
            began = time.monotonic()
            tick = reconcile(self._platform, self._setbacks)
            self._metrics.ticked(tick, time.monotonic() - began)
            self._setbacks.take("telling", self._tell)
            still = 0 if tick.moved or tick.waiting else still + 1
            if still and not started:
                started = True
                worker = warm()
            if worker is not None and worker.keep():
                self._teller.say("warm", "the warm worker ended, and is started again")
            ending.wait(_pause(tick, still, judging=rollout_of(self._ledger).phase != "idle"))

    def _conceal(self, parts: Platform) -> None:
        """What `log:` keeps out is kept out from here on: predictors of a loop that was killed log as it said then."""
        from mainspring.adapters.processes.server import LaptopModelServer
        from mainspring.platforms.personal import refuse_strange_columns_of

        if self._loaded.settings.log.unwatched:
            refuse_strange_columns_of(self._loaded, [one.signature for one in parts.registry.versions()])
        assert isinstance(parts.server, LaptopModelServer)
        for version, build in parts.server.logging_otherwise():
            self._teller.say("changed", f"log: changed; the predictor of version {version} is started again")
            parts.server.stop(version, build=build)

    def _wait_warm(self, warm: WarmWorker, ending: threading.Event) -> None:
        self._teller.say("warm", "a worker imports what the pipeline's steps need; this takes up to half a minute")
        until = time.monotonic() + _WARM_SECONDS
        while not ending.is_set() and time.monotonic() < until:
            began = time.monotonic()
            if warm(0.5):
                return
            if time.monotonic() - began < 0.4:
                return  # It ended: steps run in processes of their own.

    def close(self) -> None:
        """Answer callers to the end, then stop Envoy, predictors and the run; the log has every row."""
        from mainspring.loop.state import RUN, RunRequest, read

        platform = self._platform
        self._courier.close()
        self._teller.say("stop", "answering what was asked, then stopping Envoy and the predictors")
        platform.router.close()
        for one in platform.server.endpoints():
            platform.server.stop(one.version, build=one.build)
        run = read(self._ledger, RUN, RunRequest)
        if run is not None:
            platform.runner.interrupt(run.id)
            self._teller.say("stop", f"run {run.id} is interrupted; the next start goes on with it")
        platform.record_failures()
        self._log.compact()
        if self._sending is not None and not self._sending.close(_LAST_SENDING_SECONDS):
            self._teller.say("sink", "the log's sink does not have everything; the next start goes on")
        self._ledger.put_state({METRICS: "", SETBACKS: ""})

    def _tell(self) -> Outcome:
        """What the tick brought: decisions, steps of the run, where callers are answered; and the gauges."""
        new = self._ledger.after(self._seen)
        if new:
            self._seen = new[-1][0]
            decisions = [one for _, one in new]
            self._metrics.decided(decisions)
            for one in decisions:
                self._teller.decision(one)
        self._teller.steps(self._platform)
        self._teller.address(self._platform, self._loaded)
        self._metrics.look(self._platform, self._loaded.paths.drift)
        self._look_at_labels()
        self._metrics.alerted(self._courier.channels, self._outbox)
        self._tell_of_failing()
        if self._sending is not None:
            for setback in self._sending.news():
                self._set_back(setback)
            self._metrics.sent(self._sending, self._platform.clock.now())
        stamps = self._stamps()
        for name in [name for name in _WATCHED if stamps[name] != self._files[name]]:
            self._teller.say(
                "changed", f"{name} changed: runs take it, this loop goes on with what it read; next: start it again"
            )
        self._files = stamps
        return "still"

    def _look_at_labels(self) -> None:
        """Now and then: the target's source and the newest predictions are read for it."""
        from mainspring.platforms.coverage import coverage

        if time.monotonic() < self._labels_again:
            return
        self._labels_again = time.monotonic() + _LABEL_SECONDS
        with contextlib.suppress(MainspringError):  # What cannot be read is told by the chore that needs it.
            found = coverage(self._loaded, self._platform.clock.now(), self._labels)
            self._metrics.labelled(found, self._labels.store.added())

    def _tell_of_failing(self) -> None:
        """A chore that has failed for so long that it does not help itself, once for each time that it began to."""
        from mainspring.loop.alerts import owed

        for alert in self._failing.owed(datetime.now(UTC)):
            self._ledger.put_state(owed(alert))

    def _set_back(self, setback: Setback) -> None:
        from mainspring.domain.codec import to_json

        self._failing.heard(setback, datetime.now(UTC))
        self._ledger.put_state({SETBACKS: to_json(self._failing.words).decode() if self._failing.words else ""})
        self._teller.setback(setback)

    def _stamps(self) -> dict[str, int]:
        root = self._loaded.paths.root
        return {name: (root / name).stat().st_mtime_ns if (root / name).exists() else 0 for name in _WATCHED}


def _sending(loaded: LoadedProject, clock: Clock, teller: Teller) -> Sending | None:
    """The thread that keeps the log's sink up to date; None without one."""
    from mainspring.platforms.sending import Sending
    from mainspring.platforms.sink import shipper

    found = shipper(loaded)
    if found is None:
        return None
    teller.say("sink", f"the prediction log goes on to {found.settings.url}")
    sending = Sending(found, clock)
    sending.start()
    return sending


class _TellingNotifier:
    """Notifiers that keep an alert, and a teller that says it once it is kept."""

    def __init__(self, keep: Sequence[Notifier], teller: Teller) -> None:
        self._keep = keep
        self._teller = teller

    def notify(self, alert: Alert) -> None:
        """Keep and tell."""
        for one in self._keep:
            one.notify(alert)
        self._teller.alert(alert)


def _pause(tick: Tick, still: int, *, judging: bool) -> float:
    """Seconds until the next tick: none after something moved, little while a process gets ready, more while all is still.

    While a rollout is judged its evidence is never left lying for longer than the shortest pause.
    """
    if tick.moved:
        return 0.0
    if tick.waiting:
        return _PAUSE_SECONDS["soon" if tick.outcomes["rollout"] == "waiting" else "run"]
    return _STILL_SECONDS[0 if judging else min(still, len(_STILL_SECONDS)) - 1]


@contextlib.contextmanager
def _ending() -> Iterator[threading.Event]:
    """Set by the first signal to end; later ones interrupt what is under way."""
    ending = threading.Event()

    def told(number: int, frame: object) -> None:
        if ending.is_set():
            raise KeyboardInterrupt
        ending.set()

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, told) for one in wanted}
    try:
        yield ending
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def _metrics(loaded: LoadedProject, teller: Teller) -> Iterator[tuple[MetricsPage, str]]:
    """The loop's page of metrics, where the project wants it."""
    from mainspring.telemetry.page import MetricsPage

    page, serving = MetricsPage(), loaded.settings.serving
    port = serving.metrics_port
    if port is None:
        port = serving.port + 1 if 0 < serving.port < 65535 else 0
    try:
        address = page.serve(port)
    except ConfigError:
        if serving.metrics_port is not None:
            raise
        address = page.serve(0)
    teller.say("metrics", address)
    try:
        yield page, address
    finally:
        page.close()
