"""One error rate for a rollout, shared by stated weights among the tests that can end it.

A good candidate goes back falsely when *any* test rejects it, so their shares add up to `alpha`. A candidate that is not good
enough is promoted falsely only when the quality test accepts it, and that test alone, so accepting has the whole `alpha`:
false rollbacks and false promotions each happen in at most `alpha` of rollouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mainspring.domain.errors import ConfigError

TESTS = ("errors", "latency", "business", "quality")
_EQUAL = MappingProxyType(dict.fromkeys(TESTS, 1.0))


@dataclass(frozen=True, slots=True)
class Budget:
    """`alpha` is the rate of false rollbacks of the whole rollout; `weights` are relative, a test of weight 0 does not run.

    >>> budget = Budget(0.05, {"errors": 2, "latency": 1, "quality": 1})
    >>> budget.alpha_of("errors"), budget.alpha_of("business")
    (0.025, 0.0)
    """

    alpha: float = 0.05
    weights: Mapping[str, float] = field(default_factory=lambda: dict(_EQUAL))

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(TESTS))
        if unknown:
            raise ConfigError(
                f"no test is called {', '.join(unknown)}", where="rollout: weights", valid=", ".join(TESTS)
            )
        if not 0 < self.alpha < 1:
            raise ConfigError(
                f"{self.alpha} is no error rate", where="rollout: alpha", valid="between 0 and 1, such as 0.05"
            )
        if any(weight < 0 for weight in self.weights.values()) or not sum(self.weights.values()):
            raise ConfigError(
                "weights are not negative and not all 0", where="rollout: weights", valid="errors: 3, quality: 1"
            )

    def alpha_of(self, test: str) -> float:
        """The test's share of `alpha` for rejecting."""
        if test not in TESTS:
            raise ConfigError(f"no test is called {test}", valid=", ".join(TESTS))
        return self.alpha * self.weights.get(test, 0.0) / sum(self.weights.values())

    @property
    def alpha_to_accept(self) -> float:
        """What the quality test may spend on accepting: see above."""
        return self.alpha
