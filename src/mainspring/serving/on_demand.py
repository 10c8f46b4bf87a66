"""On-demand views as a predictor asks for them: columns in, computed columns out. Feast's own objects compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mainspring.domain.errors import MainspringError

FOLDER = "on_demand"
"""What a model folder keeps the views' definitions in, as they were at its training."""


class ViewFailed(MainspringError):
    """A view's function raised, or gave something that is no column of values; the message names the view."""


class OnDemand(Protocol):
    """The views of one model version."""

    def compute(self, view: str, columns: Mapping[str, Sequence[Any]], rows: int) -> Mapping[str, Sequence[Any]]:
        """The view's features from its inputs: numbers (NaN when missing), text (None when missing), lists.

        Errors: `ViewFailed` names the view; `DataError` a value that is not of the input's type, and the input.
        """
        ...
