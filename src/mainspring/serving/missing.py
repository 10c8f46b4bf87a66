"""What a predictor does for each feature that is not there: the project's policy, held against the model's signature.

A missing value is never zero. Where training saw nulls it is NaN (text: None); elsewhere the policy says. `default` puts
in what the project stated, and nothing that it did not state.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainspring.domain.errors import ConfigError
from mainspring.domain.model_version import Feature, Signature
from mainspring.serving.config import MissingPolicy

Scalar = str | int | float | bool
_WHERE = "mainspring.yaml: features."


@dataclass(frozen=True, slots=True)
class Missing:
    """One feature's policy: whether a request without it is refused, and what stands in for it (None: nothing does)."""

    refuse: bool = False
    default: float | str | None = None


def policies(
    signature: Signature,
    policy: MissingPolicy,
    by: Mapping[str, MissingPolicy] | None = None,
    defaults: Mapping[str, Scalar] | None = None,
    *,
    strict: bool = True,
) -> list[Missing]:
    """Each feature's policy, in the signature's order, then of the inputs that only on-demand views look at.

    `by` has the policy of a view or of a feature, which is the nearer one. With `strict` names that the model does not
    know are refused; a predictor takes them, because an older version may lack what a newer one has.
    Errors: `ConfigError` names the key, what is wrong with it and what is valid.

    >>> temp = Feature("temp", "float", "weather")
    >>> policies(Signature("regression", (temp,)), "default", defaults={"temp": 12})
    [Missing(refuse=False, default=12.0)]
    """
    by, defaults = by or {}, defaults or {}
    looked_up = {one.name: one for one in (*signature.features, *signature.inputs) if one.source != "request"}
    if strict:
        _known(by, [*looked_up, *dict.fromkeys(one.source for one in looked_up.values())], "missing_by", signature)
        _known(defaults, list(looked_up), "defaults", signature)
    found = []
    for feature in (*signature.features, *signature.inputs):
        own = by.get(feature.name, by.get(feature.source, policy))
        required = feature.source != "request" and not feature.nullable and feature in signature.features
        if own != "default":
            if feature.name in defaults and feature.name in looked_up:
                raise ConfigError(
                    f"`{feature.name}` has a default that is never used: its policy is {own}",
                    where=f"{_WHERE}defaults.{feature.name}",
                    valid=f"missing: default, or missing_by: {{{feature.name}: default}}",
                )
            found.append(Missing(refuse=own == "reject" and required))
        elif feature.name in defaults and feature.name in looked_up:
            found.append(Missing(default=_value(feature, defaults[feature.name])))
        elif required:
            raise ConfigError(
                f"`{feature.name}` of {feature.source} has no default, and training never saw it missing",
                where=f"{_WHERE}defaults",
                valid=f"{feature.name}: {_kind(feature)}",
                next_step=f"state one, or write missing_by: {{{feature.name}: reject}}",
            )
        else:
            found.append(Missing())
    return found


def _known(given: Mapping[str, object], known: Sequence[str], key: str, signature: Signature) -> None:
    for name in given:
        if name in known:
            continue
        sent = name in {one.name for one in signature.features}
        near = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"`{name}` is sent by callers; a request without it is refused"
            if sent
            else f"no looked-up feature is called `{name}`" + (f"; did you mean `{near[0]}`?" if near else ""),
            where=f"{_WHERE}{key}.{name}",
            valid=", ".join(known) or "nothing: this model looks no feature up",
        )


def _value(feature: Feature, value: Scalar) -> float | str:
    """The default as the model takes it."""
    if feature.type in ("str", "category"):
        fits = isinstance(value, str) and (not feature.categories or value in feature.categories)
    elif feature.type == "bool":
        fits = isinstance(value, bool)
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = number and (feature.type != "int" or float(value).is_integer())
    if not fits:
        near = difflib.get_close_matches(str(value), feature.categories, n=1)
        raise ConfigError(
            f"{value!r} is no {feature.type} that training saw" + (f"; did you mean {near[0]!r}?" if near else "")
            if feature.categories
            else f"{value!r} is no {feature.type}",
            where=f"{_WHERE}defaults.{feature.name}",
            valid=_kind(feature),
        )
    return value if isinstance(value, str) else float(value)


def _kind(feature: Feature) -> str:
    if feature.categories:
        return ", ".join(feature.categories[:10]) + (", ..." if len(feature.categories) > 10 else "")
    return {"int": "a whole number", "bool": "true or false", "str": "text", "category": "text"}.get(
        feature.type, "a number"
    )
