"""What "match" may cost: a share of what the champion knows beyond the base rate."""

from __future__ import annotations

from mainspring.domain.errors import ConfigError
from mainspring.domain.metric import Metric

DEFAULT_SHARE = 0.1


def skill(metric: Metric, champion: float, base_rate: float) -> float:
    """The champion's gain over a model that always answers the base rate; both are values of `metric`.

    The base rate's AUC is 0.5, its Brier score p (1 - p), its RMSE the standard deviation of the truth.
    """
    return metric.gain(champion, base_rate)


def margin_of_skill(metric: Metric, champion: float, base_rate: float, share: float = DEFAULT_SHARE) -> float:
    """The margin delta, in units of the metric, that is `share` of the champion's skill.

    A `ConfigError` says that the share is none, or that the champion knows nothing that could be lost.

    >>> from mainspring.domain.metric import METRICS
    >>> round(margin_of_skill(METRICS["auc"], 0.74, 0.5), 4)
    0.024
    >>> round(margin_of_skill(METRICS["brier"], 0.12, 0.16, 0.25), 4)
    0.01
    """
    if not 0 < share < 1:
        raise ConfigError(
            f"a share of {share:g} is no margin", where="rollout: margin", valid="between 0 and 1, such as 0.1"
        )
    return checked_margin(share * max(skill(metric, champion, base_rate), 0.0), metric, champion, base_rate)


def checked_margin(margin: float, metric: Metric, champion: float, base_rate: float) -> float:
    """The margin, if a model that always answers the base rate would not pass with it; else a `ConfigError`.

    At a base rate of 1 % such a model has a Brier score of 0.0099: it is "no worse than 0.02" beside any champion.

    >>> from mainspring.domain.metric import METRICS
    >>> checked_margin(0.02, METRICS["brier"], 0.008, 0.0099)
    Traceback (most recent call last):
    ...
    mainspring.domain.errors.ConfigError: with a margin of 0.02 in brier a model that always answers the base rate would pass
      where: rollout: margin
      valid: less than 0.0019, what the champion gains over the base rate; a tenth of it is 0.00019
    """
    known = skill(metric, champion, base_rate)
    if known <= 0:
        raise ConfigError(
            f"the champion's {metric.name} of {champion:g} is no better than the base rate's {base_rate:g}: it cannot be matched",
            where="rollout: strategy",
            valid="beat, which has no margin",
        )
    if margin >= known:
        raise ConfigError(
            f"with a margin of {margin:g} in {metric.name} a model that always answers the base rate would pass",
            where="rollout: margin",
            valid=f"less than {known:.2g}, what the champion gains over the base rate; a tenth of it is {known / 10:.2g}",
        )
    return margin
