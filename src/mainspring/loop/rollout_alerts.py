"""What people are told of a rollout. Reasons that tests give hold counts and odds, and go out; the words of a person or of a
predictor that failed may hold anything, and stay here."""

from __future__ import annotations

from datetime import datetime

from mainspring.domain.decision import Alert
from mainspring.domain.rollout import Rollout
from mainspring.loop.alerts import owed
from mainspring.loop.state import POLICY
from mainspring.settings.project import ProjectSettings


def told_rolled_back(
    settings: ProjectSettings,
    rollout: str,
    versions: tuple[str, str],
    why: str,
    now: datetime,
    *,
    actor: str,
    tested: bool,
) -> dict[str, str]:
    """Something went back. `versions`: what went, by its name, and the version that stays; `tested`: `why` comes from counts."""
    went, stays = versions
    what = f"{went} was rolled back"
    if actor != POLICY:
        what, sure = f"{what}: a person asked for it", "certain: a person decided"
    elif tested:
        sure = f"of good candidates at most {settings.rollout.alpha:.1%} go back by chance (rollout.alpha)"
        what = f"{what}: {why}"
    else:
        what, sure = f"{what}: its predictor does not run", "certain: it was started, and did not get ready"
    will = f"keep version {stays} in service" if stays else "serve nothing: there was no version before"
    looks = "mainspring ledger --kind rolled_back"
    return owed(Alert(f"rolled_back:{rollout}", what, now, "critical", looks, will, sure=sure, detail=why))


def told_promoted(rollout: Rollout, why: str, now: datetime) -> dict[str, str]:
    """A version has all traffic. The first of a project is no news to tell."""
    if not rollout.stable:
        return {}
    what = f"{rollout.named} is the champion, in place of version {rollout.stable}"
    looks, will = "mainspring rollout status", "guard it, with the old version warm: mainspring rollout undo"
    sure = "what the rollout's tests say is in the ledger"
    return owed(Alert(f"promoted:{rollout.id}", what, now, "info", looks, will, sure=sure, detail=why))
