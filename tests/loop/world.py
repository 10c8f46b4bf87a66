"""A loop's surroundings in memory, over a real ledger: enough to turn runs, rollouts and requests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from mainspring.adapters.clock import ReplayedClock
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.model_version import ModelVersion, Signature
from mainspring.domain.rollout import ArmCounts, Endpoint, EvidenceBatch
from mainspring.domain.run import Run
from mainspring.domain.time import TimeWindow
from mainspring.loop import Platform, reconcile
from mainspring.loop.state import rollout_of
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.errors import ErrorLimits
from mainspring.rollout.rules import StepEvidence
from mainspring.rollout.watch import begun
from mainspring.settings.project import ProjectSettings

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Killed(BaseException):
    """The process ended between two writes."""


class World:
    """Registry, servers, proxy and runs outlive the loop; `platform()` is a new loop over them.

    With `fuse` the so-manieth write to the outside ends the loop, before it is done.
    """

    def __init__(self, tmp_path, **settings):
        self.settings = ProjectSettings.model_validate(
            {
                "name": "rain",
                "task": "binary",
                "sources": {"s": {"path": "s.csv"}},
                "target": {"source": "s", "column": "y"},
                "retrain": {"policy": "never"},
                **settings,
                "rollout": {
                    "steps": [10],
                    "step_time": "1h",
                    "min_requests": 0,
                    "guard": {"time": "0s"},
                    **settings.get("rollout", {}),
                },
            }
        )
        self.clock = ReplayedClock(AT)
        tmp_path.mkdir(exist_ok=True)
        self.path = tmp_path / "ledger.db"
        self.versions, self.running, self.runs, self.sent = {}, {}, {}, []
        self.weights, self.counts, self.copies, self.quality = {}, {}, ArmCounts(), None
        self.files, self.swept = set(), []
        self.users, self.business = 0, None
        self.fuse = None
        self.writes = 0

    def write(self):
        self.writes += 1
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Killed

    def add(self, version, verdict="accepted", aliases=()):
        self.files.add(version)
        self.versions[version] = ModelVersion(
            "rain", version, f"run-{version}", "", "", False, "policy:auto", "onnx", Signature("binary", ()),
            evaluated_run=f"mlflow-{version}", verdict=verdict, reason="not better" if verdict == "refused" else "", aliases=tuple(aliases),
        )  # fmt: skip

    def platform(self):
        self.ledger = _Ledger(self.path, self)
        return Platform(
            settings=self.settings, clock=self.clock, ledger=self.ledger, features=_Nothing(), runner=_Runner(self),
            registry=_Registry(self), server=_Server(self), router=_Router(self), log=_Nothing(),
            labels=_Nothing(), notifier=_Notifier(self), drift=_Nothing(), challengers=_Nothing(),
            tests=_Tests(self), record_failures=lambda: 0, collector=_Collector(self),
        )  # fmt: skip

    def settle(self, **options):
        platform = self.platform()
        for _ in range(40):
            tick = reconcile(platform, **options)
            if not tick.moved and not tick.waiting:
                return platform
        raise AssertionError("the loop does not come to rest")

    def served(self):
        """A project whose version 1 is in service."""
        self.add("1")
        platform = self.settle()
        assert self.rollout.stable == "1"
        self.clock.advance(AT + timedelta(days=1))
        return platform

    @property
    def rollout(self):
        return rollout_of(self.ledger)

    def rows(self, *kinds):
        return [one for one in self.ledger.decisions() if one.kind in kinds]


class _Ledger(SqliteLedger):
    def __init__(self, path, world):
        super().__init__(path)
        self._world = world

    def append(self, decision, *, state=None):
        self._world.write()
        return super().append(decision, state=state)

    def put_state(self, state):
        self._world.write()
        super().put_state(state)


class _Registry:
    def __init__(self, world):
        self.world = world

    def versions(self):
        return list(self.world.versions.values())

    def set_alias(self, alias, version):
        self.world.write()
        for name, one in self.world.versions.items():
            aliases = [each for each in one.aliases if each != alias] + ([alias] if name == version else [])
            self.world.versions[name] = replace(one, aliases=tuple(aliases))

    def annotate(self, version, tags):
        self.world.write()
        one = self.world.versions[version]
        approver = tags.get("mainspring.approver", one.approver)
        self.world.versions[version] = replace(one, tags=one.tags | tags, approver=approver)

    def fetch(self, version):
        return None


class _Server:
    def __init__(self, world):
        self.world = world

    def start(self, version, model, *, build=""):
        self.world.running[version.version, build] = Endpoint(version.version, "h", 1, True, build=build)

    def endpoints(self):
        return list(self.world.running.values())

    def stop(self, version, *, build=""):
        self.world.running.pop((version, build), None)


class _Router:
    def __init__(self, world):
        self.world = world

    def apply(self, rollout, endpoints):
        self.world.weights = {"stable": 100 - rollout.weight_percent, "candidate": rollout.weight_percent}
        self.world.mirrored = rollout.mirror_percent
        self.world.routed = rollout

    def observed(self):
        return self.world.weights


class _Tests:
    """The real tests over the world's counts: of copies in a shadow, else of one batch."""

    def __init__(self, world):
        self.world = world

    def past(self, rollout):
        return self.world.counts

    def look(self, rollout, now):
        watch, counts, copies = begun(ErrorLimits(), ErrorLimits(), 0.0), self.world.counts, self.world.copies
        if rollout.phase == "shadow":
            watch, requests = watch.after_copies(ArmCounts(copies.requests), copies, 1.0), copies.requests
        else:
            requests = counts.get("candidate", ArmCounts()).requests
            watch = watch.after([EvidenceBatch(rollout.weight_percent, counts)] if counts and rollout.splits else [])
        business = self.world.business if rollout.splits else None
        tests = watch.evidence(Budget(), quality=self.world.quality, business=business)
        return StepEvidence(
            requests, tests, self.world.quality, watch.words, split_off=watch.split_off, users=self.world.users,
            business=business,
        )  # fmt: skip


class _Runner:
    def __init__(self, world):
        self.world = world

    def start(self, run_id, trigger, parameters):
        self.world.runs[run_id] = Run(run_id, trigger, "running")

    def status(self, run_id):
        return self.world.runs.get(run_id)


class _Collector:
    """Deletes a version's parts one after the other."""

    def __init__(self, world):
        self.world = world

    def collect(self, doomed):
        self.world.write()
        self.world.versions.pop(doomed.version, None)
        self.world.write()
        self.world.files.discard(doomed.version)

    def sweep(self, now):
        self.world.write()
        self.world.swept.append(now)
        return 0


class _Notifier:
    def __init__(self, world):
        self.world = world

    def notify(self, alert):
        self.world.sent.append(alert)


class _Nothing:
    """Ports that nothing in these tests turns on."""

    def run(self, version, at):
        return DriftReport(f"drift-{at}", version, at, TimeWindow(at, at), 0, (), "quiet", "")

    def advance(self, until):
        return 0

    def compact(self):
        return 0

    def read(self, window=None, columns=None):
        return pa.table({})


def turn(platform, ticks=4):
    for _ in range(ticks):
        reconcile(platform)


def hours(world, count):
    world.clock.advance(world.clock.now() + timedelta(hours=count))
