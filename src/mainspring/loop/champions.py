"""Versions that served before the one in service, and those of them that stay warm."""

from __future__ import annotations

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
