"""`drift:` of `mainspring.yaml`: what is compared, how often, and when it is believed."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mainspring.settings.part import Duration, Part

_MOST_WINDOWS = 1_000
"""Each window of the trailing reference is read on its own: four weeks by the hour are 672."""


class DriftSettings(Part):
    """What is compared, how often, and what counts as drift."""

    every: Duration = timedelta(days=1)
    """How often; the current window is as long."""
    statistic: Literal["calibrated", "psi", "ks", "kl", "js"] = "calibrated"
    """What decides. `calibrated`: a window is held against how the reference's own windows differ from each other, at the stated
    `rate` of false alarms; where there are too few of them, PSI against `tolerated_psi`. The others: the statistic against
    `threshold`, as the textbooks have it; that carries no false-alarm rate."""
    rate: float = Field(default=0.05, ge=0.001, le=0.5)
    """`calibrated`: the share of windows without drift in which some feature is named. With `persistence` 2 that leaves an
    alarm in some months of daily windows. The reference needs about 1/`rate` windows, and 30 at least."""
    tolerated_psi: float = Field(default=0.01, ge=0)
    """`calibrated`, as long as the reference has too few windows: a PSI up to this is no drift, whatever the number of rows.
    0.01: a tenth of what the textbooks call a small shift."""
    threshold: float | None = Field(default=None, gt=0)
    """Of `psi`, `ks`, `kl` and `js`, which need it: above it a feature has drifted. 0.2 for PSI is the industry's folklore."""
    min_rows: int = Field(default=100, ge=1)
    """Fewer rows than this in the current window are no evidence."""
    reference: Literal["training", "trailing"] = "trailing"
    """The reference that an alarm acts on; both are reported. Against `training` a season alarms until the next training;
    against `trailing` it is the new normal after `trailing`."""
    trailing: Duration = timedelta(days=28)
    """Length of the trailing reference: four whole weeks."""
    persistence: int = Field(default=2, ge=1)
    """A feature has to drift in this many of the last `persistence + 1` windows."""

    @model_validator(mode="after")
    def _countable(self) -> DriftSettings:
        if self.trailing // self.every > _MOST_WINDOWS:
            raise ValueError(
                f"drift.trailing has {self.trailing // self.every:,} windows of drift.every; at most {_MOST_WINDOWS:,} are counted"
            )
        return self

    @model_validator(mode="after")
    def _one_threshold(self) -> DriftSettings:
        if self.statistic == "calibrated" and self.threshold is not None:
            raise ValueError(
                "drift.threshold is for a statistic with a limit of its own: `statistic: psi` (or ks, kl, js) beside it, or `rate` in its place"
            )
        if self.statistic != "calibrated" and self.threshold is None:
            raise ValueError(f"drift.statistic {self.statistic} needs a threshold; 0.2 is the usual one for PSI")
        return self
