"""The text of a new project: `mainspring.yaml`, `training.py`, `.gitignore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import yaml

from mainspring.domain.time import duration_in_words
from mainspring.settings.project import SplitSettings
from mainspring.templates.roles import Roles, Wish
from mainspring.templates.table import Table
from mainspring.templates.times import Times

_WIDTH = 110
_TYPES = {"text": "category", "bool": "bool", "int": "int", "float": "float"}
_LEAST_A_DAY = 30
"""`on_regret` judges by days of at least so many labelled rows."""

GITIGNORE = """\
# What the platform writes: runs, models, logs, the ledger.
.mainspring/
__pycache__/
"""

_TRAINING = '''\
"""Gradient-boosted trees for `{target}`. Any estimator of scikit-learn, XGBoost or LightGBM will do: return it fitted."""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import {estimator}


def train(data, params):
    """Fit on `data.X` (a DataFrame: numbers with NaN, text with "" where missing) and `data.y` ({y})."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((codes, data.categoricals), remainder="passthrough")
    trees = {estimator}(
        n_estimators=params["trees"],
        max_depth=params["depth"],
        learning_rate=params["learning_rate"],
        random_state=params["seed"],
    )
    return make_pipeline(columns, trees).fit(data.X, data.y)
'''
_Y = {"binary": "0 or 1", "multiclass": "positions in data.classes", "regression": "values"}


def training(roles: Roles, target: str) -> str:
    """`training.py` for the task."""
    estimator = "XGBRegressor" if roles.task == "regression" else "XGBClassifier"
    return _TRAINING.format(target=_line(target), estimator=estimator, y=_Y[roles.task])


def settings(table: Table, roles: Roles, times: Times | None, wish: Wish, *, source: str, path: str) -> str:
    """`mainspring.yaml`, with what was found as comments."""
    lines = [
        f"# Written from {_line(table.file.name)} ({table.rows:,} rows). Every key and its default: mainspring schema all",
        f"name: {wish.name}",
        f"task: {roles.task}",
        f"  # {roles.why}",
        "",
        *_source(table, roles, wish, source, path),
        "",
        *_target(roles, wish, source),
        "",
        *_features(roles),
        "",
        *_policy(times),
        "params: {trees: 100, depth: 4, learning_rate: 0.1}   # handed to train(data, params)",
    ]
    return "\n".join(_joined(lines)) + "\n"


def _source(table: Table, roles: Roles, wish: Wish, source: str, path: str) -> list[str]:
    grow = "append rows to it" if table.csv else "add files to it"
    lines = [
        "sources:",
        f"  {source}:",
        f"    path: {_scalar(path)}",
        f"      # new questions and their labels come back here: {grow}",
    ]
    if wish.time:
        lines += [f"    time: {_scalar(wish.time)}", "      # when each question is asked; without an offset it is UTC"]
    if table.nulls:
        lines += [f"    nulls: {_flow(table.nulls)}", "      # these mean that a value is missing"]
    if table.csv:
        declared = {name: _TYPES[table.columns[name].kind] for name in roles.request}
        target = table.columns[wish.target].kind
        declared[wish.target] = "str" if target == "text" else _TYPES[target]
        if wish.key:
            declared = {wish.key: "str", **declared}
        texts = [f"{_scalar(name)}: {kind}" for name, kind in declared.items()]
        lines += ["    # A row that does not fit is refused, by its number.", *_wrapped("    columns: {", texts, "}")]
    return lines


def _target(roles: Roles, wish: Wish, source: str) -> list[str]:
    lines = ["target:", f"  source: {source}", f"  column: {_scalar(wish.target)}"]
    if roles.task == "binary":
        lines += [f"  positive: {_scalar(roles.positive)}", "    # the label whose chance is predicted"]
    if wish.key:
        lines += [
            f"  id: {_scalar(wish.key)}",
            "    # callers send it as x-request-id: by it a label meets its prediction",
        ]
    else:
        lines += ["  # id: a column that differs in every row; by it labels would meet predictions"]
    if wish.time:
        lines += [f"  delay: {duration_in_words(wish.delay)}", "    # how long after the question its label is known"]
    return lines


def _features(roles: Roles) -> list[str]:
    lines = ["features:", *_wrapped("  request: [", [_scalar(name) for name in roles.request], "]")]
    lines[-1] += "   # what a caller sends" if len(lines) == 2 else ""
    if roles.left_out:
        lines.append("  # Left out:")
        lines += [f"  #   {_line(name)}: {_line(reason)}" for name, reason in roles.left_out.items()]
    return lines


def _policy(times: Times | None) -> list[str]:
    if times is None:
        return [
            "split: {holdout_share: 0.2}   # without times a fifth of the rows is held out, by a hash of the row",
            "retrain: {policy: on_alarm}   # without times no days can be compared: drift alone asks for a new model",
            "",
        ]
    lines = []
    if times.holdout != SplitSettings().holdout:
        held_out = f"# the newest {times.held_out:,} of {times.labelled:,} labelled rows, for the gate"
        lines.append(f"split: {{holdout: {duration_in_words(times.holdout)}}}   {held_out}")
    if times.drift_every is not None:
        lines.append(
            f"drift: {_drift(times.drift_every)}   # about {times.a_day:.2g} questions a day: a day is too few"
        )
    if times.a_day < _LEAST_A_DAY:
        why = f"# fewer than {_LEAST_A_DAY} labels a day are too few to compare days by"
        lines.append(f"retrain: {{policy: on_schedule, schedule: 30d}}   {why}")
    return [*lines, ""] if lines else []


def _drift(every: timedelta) -> str:
    return f"{{every: {duration_in_words(every)}}}"


def _joined(lines: Sequence[str]) -> list[str]:
    """A comment that begins deeper than its line goes behind it, where it fits."""
    found: list[str] = []
    for line in lines:
        before = found[-1] if found else ""
        deeper = line.lstrip().startswith("#") and len(line) - len(line.lstrip()) > len(before) - len(before.lstrip())
        short = len(before) + len(line.lstrip()) + 3 <= _WIDTH + 10
        if deeper and before and not before.lstrip().startswith("#") and short:
            found[-1] = f"{before:<30}  {line.lstrip()}"
        else:
            found.append(line)
    return found


def _wrapped(head: str, texts: Sequence[str], tail: str) -> list[str]:
    """`head`, the texts with commas, `tail`; over several lines when one is not enough."""
    one = head + ", ".join(texts) + tail
    if len(one) <= _WIDTH:
        return [one]
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    lines, line = [head.rstrip()], indent
    for place, text in enumerate(texts):
        piece = text + ("," if place < len(texts) - 1 else "")
        if len(line) + len(piece) > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += piece + " "
    return [*lines, line.rstrip(), indent[2:] + tail]


def _flow(values: Sequence[str]) -> str:
    return "[" + ", ".join(_scalar(one) for one in values) + "]"


def _scalar(value: Any) -> str:
    """A value as it stands inside `[ ]` or `{ }`, in quotes where it needs them."""
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10_000)
    return text.strip()[1:-1]


def _line(text: str) -> str:
    return " ".join(text.split())
