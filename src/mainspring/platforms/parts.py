"""The laptop's `Platform`: every port with what stands behind it on one machine."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.adapters.notify.file import FileNotifier
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.server import LaptopModelServer
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.labels.known import KnownLabels
from mainspring.loop.platform import Platform
from mainspring.platforms.business import business_of
from mainspring.platforms.challenger import LaptopChallengers
from mainspring.platforms.collect import LaptopCollector
from mainspring.platforms.drift import LaptopDrift
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.performance import LaptopPerformance
from mainspring.platforms.realised import LaptopLosses
from mainspring.platforms.rollout_tests import LaptopRolloutTests
from mainspring.platforms.runs import runner
from mainspring.platforms.shadow import LaptopShadow
from mainspring.ports import Clock
from mainspring.serving.config import OnlineStoreConfig
from mainspring.settings.load import LoadedProject

_SHADOW_SECONDS = 5.0
_BUSINESS_SECONDS = 60.0


def laptop(
    loaded: LoadedProject,
    clock: Clock,
    *,
    replayed: bool = False,
    error_shares: Mapping[str, float] | None = None,
    quiet: bool = False,
) -> Platform:
    """The parts for one project. `error_shares`: builds that are broken on purpose, for a rehearsal."""
    settings, paths = loaded.settings, loaded.paths
    features = LaptopFeatures(loaded)
    registry = MlflowRegistry(settings.name, Tracking(settings, paths), paths.models)
    log = ParquetPredictionLog(paths)
    evidence = EnvoyEvidence(paths, settings.rollout, replayed=replayed)
    labels = KnownLabels(features.questions, features.labels.beside)
    server = LaptopModelServer(
        settings, paths, replayed=replayed, online=lambda: online_store(loaded, features), error_shares=error_shares
    )
    ledger = SqliteLedger(paths.ledger)
    return Platform(
        settings=settings,
        clock=clock,
        ledger=ledger,
        features=features,
        runner=runner(loaded),
        registry=registry,
        server=server,
        router=EnvoyRouter(settings, paths),
        log=log,
        labels=labels,
        notifier=FileNotifier(paths.state / "alerts.jsonl", quiet=quiet),
        drift=LaptopDrift(loaded, registry, log),
        challengers=LaptopChallengers(loaded, features, registry),
        tests=LaptopRolloutTests(
            settings,
            evidence,
            LaptopShadow(settings, log, labels, registry, every_seconds=0.0 if replayed else _SHADOW_SECONDS),
            business_of(
                settings, lambda: features.sources, evidence, every_seconds=0.0 if replayed else _BUSINESS_SECONDS
            ),
        ),
        record_failures=evidence.record_failures,
        losses=LaptopLosses(settings, log, labels, registry),
        collector=LaptopCollector(loaded, registry, log, ledger),
        performance=LaptopPerformance(loaded, registry, log, labels),
    )


def online_store(loaded: LoadedProject, features: LaptopFeatures) -> OnlineStoreConfig | None:
    """Where a predictor finds Feast's online features; None for a project without views."""
    if features.store is None:
        return None
    settings = loaded.settings.features
    return features.store.online_store(settings.entities, settings.online_timeout.total_seconds())
