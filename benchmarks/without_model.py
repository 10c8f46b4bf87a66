"""A predictor's own command line with only the model call taken out: `without_model.py serve.json`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mainspring.domain.model_card import ModelCard
from mainspring.serving import process
from mainspring.serving.runtime import Output, Row


class Constant:
    """The same answer for every row."""

    largest = 3.4e38

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """[rows]."""
        return [(0.5,)] * len(rows)


def constant(folder: Path, card: ModelCard) -> Constant:
    """In place of `load_runtime`."""
    return Constant()


if __name__ == "__main__":
    process.load_runtime = constant
    process.single_threaded()
    sys.exit(process.main(Path(sys.argv[1])))
