"""`ModelVersion`: a registered model, where it came from and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mainspring.domain.metric import Task

ServedFormat = Literal["onnx", "xgboost_ubj", "lightgbm_text", "skops", "project"]
Verdict = Literal["accepted", "refused", "unjudged"]


def label_name(value: object) -> str:
    """A label as classes are named.

    >>> label_name(1.0), label_name("late")
    ('1', 'late')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model, in column order.

    `type` is int, float, bool, str or category (any: a list, which only on-demand views take). `source` is `request` when the caller gives it, else the feature view
    it comes from. `nullable` says whether training saw nulls: then a missing value is served as NaN and flagged.
    """

    name: str
    type: str
    source: str = "request"
    nullable: bool = False
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnDemandView:
    """A view that computes its features when they are asked for, from `inputs`: features of the request and of views."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives: features in order, entity keys, task and class labels.

    `on_demand` are the views that compute some of the features; `inputs` are features of other views that only those
    look at, and not the model.
    """

    task: Task
    features: tuple[Feature, ...]
    entities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    target: str = ""
    on_demand: tuple[OnDemandView, ...] = ()
    inputs: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version in the registry. `metrics` are the gate's numbers on its window; `digest` is of the model's files.

    `run_id` is the pipeline run. Of the tracking's runs, `evaluated_run` is the one whose model the gate compared and
    `shipped_run` the refit on everything that is served, empty for a model that was refused. `features` has a digest of
    each feature view's definition. `trained_by` is the person who had it trained or adopted it, empty when the policy did.
    `origin` says which version of another registry it was adopted from, empty for one that the pipeline made.
    """

    name: str
    version: str
    run_id: str
    dataset_digest: str
    git_sha: str
    git_dirty: bool
    approver: str
    format: ServedFormat
    signature: Signature
    digest: str = ""
    verdict: Verdict = "unjudged"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    trained_until: datetime | None = None
    created_at: datetime | None = None
    evaluated_run: str = ""
    shipped_run: str = ""
    features: dict[str, str] = field(default_factory=dict)
    trained_by: str = ""
    origin: str = ""
