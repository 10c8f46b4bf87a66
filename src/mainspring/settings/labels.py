"""`labels:` of `mainspring.yaml`: labels that come beside the target's source, and by what they meet predictions."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from mainspring.settings.part import Duration, Part


class LabelSettings(Part):
    """Labels from a source of their own, and from files that are handed to `mainspring labels add`.

    The same columns are looked for in both. A label says when it became known; of several for one request the newest that was
    known counts at each instant.
    """

    source: str | None = None
    """Name of a source whose rows are labels. None: there is none beside the target's, and files still can be added."""
    column: str | None = None
    """The column with the label. None: `label`, or the target's own column."""
    id: str | None = None
    """The column with the request id. None: `request_id`, or the target's own (`target.id`)."""
    entities: dict[str, str] = Field(default_factory=dict)
    """Where labels have no request id: column that callers send -> column with the same key here. A prediction then gets the
    label of its keys that is nearest in time, within `tolerance`. Empty by default: an id is never wrong, a time may be."""
    time: str | None = None
    """The column with the instant that the label is about. None: `event_at`, or the question's own (`target.time`); a source's
    `time`."""
    tolerance: Duration = timedelta(0)
    """How far a prediction's event time may be from the label's, with `entities`. 0s: the same instant."""
    available_at: str | None = None
    """The column that says when the label became known. None: `known_at`, or the target's own; else for a source what its
    `available_at` or `delay` says, for a file the moment at which it is added."""
    late_after: Duration = timedelta(days=28)
    """A label that became known later than this after its prediction is counted as late, and used all the same. Four weeks:
    what a rollout waits for its evidence (`rollout.undecided.after`)."""

    @model_validator(mode="after")
    def _one_way(self) -> LabelSettings:
        if self.id is not None and self.entities:
            raise ValueError("labels meet predictions either by `id` or by `entities`")
        if self.tolerance and not self.entities:
            raise ValueError("`tolerance` is for labels that meet predictions by `entities`")
        return self
