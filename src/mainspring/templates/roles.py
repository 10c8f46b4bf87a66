"""What each column of a new user's file is for: the target's task, the model's inputs, and what is left out, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from mainspring.domain.errors import DataError
from mainspring.domain.metric import Task
from mainspring.features.questions import RESERVED
from mainspring.sources.check import quoted
from mainspring.templates.table import Facts, Table, same_as, some

FEWEST_ROWS = 20
_MOST_CLASSES = 100
_MOST_CATEGORIES = 10_000
_WHOLE_CLASSES = 20
"""Whole numbers with at most so many different values, each ten times on average, are taken as classes."""
_ID = re.compile(r"(^|[_\W])(id|uuid|guid|key|no|nr|number|index)$|[a-z]I[dD]$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user said on the command line; empty: find out."""

    target: str
    time: str = ""
    key: str = ""
    task: str = ""
    positive: str = ""
    name: str = ""
    delay: timedelta = timedelta(0)
    copy: bool = True


@dataclass(frozen=True, slots=True)
class Roles:
    """The task and the roles of all columns. `why` says how the task was found; `hints` what else could be said."""

    task: Task
    why: str
    positive: Any
    request: list[str]
    left_out: dict[str, str]
    hints: list[str] = field(default_factory=list)


def find_roles(table: Table, wish: Wish) -> Roles:
    """The roles; a `DataError` says what the file or the command line has to be otherwise."""
    target = table.require(wish.target, "--target")
    for name, option in ((wish.time, "--time"), (wish.key, "--key")):
        if name:
            table.require(name, option)
    if len({wish.target, wish.time or "\0time", wish.key or "\0key"}) < 3:
        raise DataError(
            "one column cannot have two roles", where="--target, --time, --key", valid=", ".join(table.columns)
        )
    if wish.key:
        _refuse_key(table, table.columns[wish.key])
    task, why = _task(table, target, wish.task)
    positive = _positive(target, wish.positive) if task == "binary" else None
    if wish.positive and task != "binary":
        raise DataError(f"a {task} task has no positive label", where="--positive", valid="--task binary")
    left_out: dict[str, str] = {}
    for facts in table.columns.values():
        reason = _left_out(table, facts, target, task, wish)
        if reason:
            left_out[facts.name] = reason
    request = [name for name in table.columns if name not in left_out and name != wish.target]
    if not request:
        raise DataError(
            "no column is left that a model could learn from: "
            + "; ".join(f"`{name}`: {reason}" for name, reason in left_out.items()),
            where=str(table.file),
            valid="numbers, true or false, or text whose values come again",
        )
    return Roles(task, why, positive, request, left_out, _hints(table, target, task, wish))


def _task(table: Table, target: Facts, wanted: str) -> tuple[Task, str]:
    where = f"{table.file}: {target.name}"
    if target.kind in ("time", "other"):
        raise DataError(f"the target is {target.type}", where=where, valid="numbers, true or false, or text")
    if target.known < FEWEST_ROWS:
        raise DataError(
            f"only {target.known} of {target.rows:,} rows have a value of the target: too few to learn from",
            where=where,
            valid=f"at least {FEWEST_ROWS} labelled rows, and rather hundreds",
        )
    if target.distinct == 1:
        raise DataError(
            f"the target has one value in all {target.known:,} rows: {target.values[0][0]!r}",
            where=where,
            valid="two labels or more: rows of every outcome",
        )
    if target.decimal_comma:
        raise DataError("the target is numbers with a decimal comma", where=where, valid="numbers with a point")
    found, why = _inferred(target)
    if not wanted:
        _refuse_classes(target, found, where)
        return found, why
    if wanted not in ("binary", "multiclass", "regression"):
        raise DataError(f"there is no task {wanted!r}", where="--task", valid="binary, multiclass, regression")
    if wanted == "binary" and target.distinct != 2:
        raise DataError(
            f"a binary task has two labels, and `{target.name}` has {target.distinct:,}", where="--task", valid=found
        )
    if wanted == "regression" and target.kind not in ("int", "float"):
        raise DataError(
            f"a regression needs numbers, and `{target.name}` is {target.kind}", where="--task", valid=found
        )
    task = cast("Task", wanted)
    _refuse_classes(target, task, where)
    return task, f"as you say; by itself it would be {found}, {why}" if task != found else why


def _inferred(target: Facts) -> tuple[Task, str]:
    labels = some([f"{value} ({rows:,} rows)" for value, rows in target.values])
    if target.distinct == 2:
        return "binary", f"two labels: {labels}"
    if target.kind == "text":
        return "multiclass", f"{target.distinct} labels: {labels}"
    if target.whole and target.distinct <= _WHOLE_CLASSES and target.known >= 10 * target.distinct:
        return "multiclass", f"{target.distinct} whole numbers: {labels}"
    return "regression", f"numbers, {target.distinct:,} different ones from {target.least:g} to {target.most:g}"


def _refuse_classes(target: Facts, task: Task, where: str) -> None:
    if task == "multiclass" and target.distinct > min(_MOST_CLASSES, target.known // 2):
        numbers = target.kind in ("int", "float")
        raise DataError(
            f"the target has {target.distinct:,} different values in {target.known:,} rows: too many to be classes",
            where=where,
            valid=f"at most {_MOST_CLASSES} classes, each in several rows" + ("; --task regression" if numbers else ""),
            next_step="name the column that is to be predicted with --target",
        )


def _positive(target: Facts, wanted: str) -> Any:
    labels = sorted(value for value, _ in target.values)
    if not wanted:
        return _plain(labels[-1])
    for label in labels:
        if wanted.lower() == str(_plain(label)).lower():
            return _plain(label)
    raise DataError(
        f"{wanted!r} is no label of `{target.name}`",
        where="--positive",
        valid=", ".join(str(_plain(label)) for label in labels),
    )


def _plain(label: Any) -> Any:
    """A label as `target.positive` takes it: 1.0 is 1, 0.5 is text."""
    if isinstance(label, float):
        return int(label) if label.is_integer() else str(label)
    return label


def _refuse_key(table: Table, key: Facts) -> None:
    column, where = quoted(key.name), f"{table.file}: {key.name}"
    if key.missing:
        raise DataError(
            f"{key.missing:,} rows have no `{key.name}`",
            where=where,
            valid="an id in every row",
            next_step="mend the rows",
        )
    if key.distinct != key.rows:
        doubled = table.all(
            f"SELECT {column}, count(*) FROM rows GROUP BY 1 HAVING count(*) > 1 ORDER BY 2 DESC, 1 LIMIT 3"
        )
        unique = [one.name for one in table.columns.values() if _is_unique(one)]
        raise DataError(
            f"`{key.name}` is no id of a row: "
            + ", ".join(f"{value!r} is there {times:,} times" for value, times in doubled),
            where=where,
            valid="a column that differs in every row"
            + (f": {some(unique)}" if unique else ", such as an id of each question: none of this file does"),
            next_step="name another column with --key, or leave --key out: then labels cannot meet predictions",
        )


def _left_out(table: Table, facts: Facts, target: Facts, task: Task, wish: Wish) -> str:
    """Why a column is no input; empty when it is one."""
    if facts.name == target.name:
        return ""
    if facts.name in (wish.time, wish.key):
        return "the time of the question" if facts.name == wish.time else "the id"
    if facts.name in RESERVED:
        return "a name of the platform's own: rename it to use it"
    simple = {
        "other": f"{facts.type}, which no model takes",
        "time": "a time: give what matters of it (weekday, days since) a column of its own",
    }
    if facts.kind in simple:
        return simple[facts.kind]
    if not facts.known:
        return "empty"
    if facts.distinct == 1 and not facts.missing:
        return f"always {facts.values[0][0]!r}"
    if _is_target(table, facts, target, task):
        return "says the same as the target"
    return _names_rows(facts)


def _names_rows(facts: Facts) -> str:
    """Why a column says which row it is, and nothing about it; empty when it does not."""
    if facts.kind == "text":
        if facts.decimal_comma:
            return "numbers with a decimal comma: write them with a point"
        if facts.distinct > max(FEWEST_ROWS, facts.known / 2):
            return f"text, {facts.distinct / facts.known:.0%} of it different: it names rows"
        return f"text with {facts.distinct:,} different values" if facts.distinct > _MOST_CATEGORIES else ""
    if facts.kind == "int" and _is_unique(facts):
        return "different in every row: a row's number or id"
    return ""


def _is_unique(facts: Facts) -> bool:
    """Whether a column could identify rows: text, or whole numbers that count rows or are called an id."""
    if facts.missing or facts.distinct != facts.rows or facts.rows < FEWEST_ROWS:
        return False
    if facts.kind == "int":
        counts = facts.least is not None and facts.most is not None and facts.most - facts.least + 1 == facts.rows
        return counts or bool(_ID.search(facts.name))
    return facts.kind == "text"


def _is_target(table: Table, facts: Facts, target: Facts, task: Task) -> bool:
    if task != "regression":
        return facts.distinct == target.distinct and same_as(table, facts.name, target.name)
    if facts.kind not in ("int", "float"):
        return False
    left, right = quoted(facts.name), quoted(target.name)
    return not table.one(f"SELECT count(*) FROM rows WHERE {left} IS DISTINCT FROM {right}")


def _hints(table: Table, target: Facts, task: Task, wish: Wish) -> list[str]:
    found = []
    if not wish.key:
        ids = [facts.name for facts in table.columns.values() if _is_unique(facts) and facts.name != target.name]
        if ids:
            found.append(f"`{ids[0]}` differs in every row: with --key {_word(ids[0])} labels meet the predictions")
    if not wish.time:
        times = [facts.name for facts in table.columns.values() if facts.kind == "time" and not facts.missing]
        if times:
            holds = (
                f"`{times[0]}` holds times" if len(times) == 1 else f"{some([f'`{one}`' for one in times])} hold times"
            )
            found.append(f"{holds}: say --time {_word(times[0])} if that is when a question is asked")
    if task == "multiclass" and target.kind in ("int", "float") and target.distinct > 2:
        found.append("whole numbers were taken as classes: with --task regression they are values")
    if task != "regression":
        rare = [f"{value} ({rows})" for value, rows in target.values if rows < 10]
        if rare:
            found.append(f"few rows have the label {some(rare)}: a model learns little from them")
    return found


def _word(name: str) -> str:
    import shlex

    return shlex.quote(name)
