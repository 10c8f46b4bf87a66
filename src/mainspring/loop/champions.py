"""Versions that served before the one in service, those of them that stay warm, and those that may serve after it."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Rollout
from mainspring.loop.platform import Platform
from mainspring.ports import Ledger
from mainspring.settings.keeping import KeepSettings


def former_champions(ledger: Ledger, rollout: Rollout) -> list[str]:
    """Versions that served before the one in service, the last first; none that was rolled back."""
    promoted = [one.version for one in ledger.decisions(kind="promoted")]
    back = {one.version for one in ledger.decisions(kind="rolled_back")}
    return [one for one in dict.fromkeys(reversed(promoted)) if one and one != rollout.stable and one not in back]


def warm_versions(ledger: Ledger, rollout: Rollout, keep: KeepSettings) -> list[str]:
    """Former champions whose predictors run on, beside the one that a guard keeps warm for itself."""
    if keep.warm < 2:
        return []
    return former_champions(ledger, rollout)[: keep.warm - 1]


def keep_warm(platform: Platform, rollout: Rollout) -> None:
    """Start those of them that do not run, as after a loop that ended in peace."""
    wanted = warm_versions(platform.ledger, rollout, platform.settings.keep)
    running = {one.version for one in platform.server.endpoints() if not one.build} if wanted else set()
    for version in wanted:
        found = next((one for one in platform.registry.versions() if one.version == version), None)
        if version not in running and found is not None:
            platform.server.start(found, platform.registry.fetch(version))


def untried(versions: Sequence[ModelVersion], ledger: Ledger, stable: str) -> list[ModelVersion]:
    """Accepted versions that are newer than stable and were never champion, nor rolled back; the newest last.

    A former champion was replaced by a person's word: it comes back by a person's word alone.
    """
    place = next((at for at, one in enumerate(versions) if one.version == stable), -1)
    tried = {one.version for kind in ("rolled_back", "promoted") for one in ledger.decisions(kind=kind)}
    return [one for one in versions[place + 1 :] if one.verdict == "accepted" and one.version not in tried]
