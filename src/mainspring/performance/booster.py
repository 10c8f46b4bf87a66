"""Small boosted trees that learn from held-out rows what the answer alone does not say.

For two classes: by which features what was said is to be corrected (`fit_correction`). For values: how large the error is
(`fit_losses`). Trees are XGBoost's, kept in its own format (UBJ), which holds numbers and nothing that runs.

The settings are fixed. They were chosen on NannyML's public data sets (docs/performance.md says what else was tried there), on which
`benchmarks/expected_performance.py` compares: trees of one split correct a little and hardly extrapolate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mainspring.domain.errors import DataError
from mainspring.domain.model_version import Feature

LEAST_ROWS = 2000
"""With fewer held-out rows nothing is learnt from features."""
_STUMPS = {"objective": "binary:logistic", "max_depth": 1, "eta": 0.1, "lambda": 10.0, "min_child_weight": 100.0}
_LOSSES = {"objective": "reg:gamma", "max_depth": 4, "eta": 0.1, "lambda": 10.0, "min_child_weight": 50.0}
_ROUNDS = 100
_RELATIVE_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Columns:
    """The features in order and their categories; text of another kind is left out."""

    names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()

    def matrix(self, values: Any, outputs: Any) -> Any:
        """[rows, features + 1]: numbers as they are, places of categories, NaN for what is missing; last what was said.

        `values` has a sequence for each name; one that it lacks is missing in every row.
        """
        import numpy as np

        said = np.asarray(outputs, np.float64)
        columns = [
            _places(values[name], known) if name in values and known else _numbers(values.get(name), len(said))
            for name, known in zip(self.names, self.categories, strict=True)
        ]
        return np.column_stack([*columns, said])


def columns_of(features: tuple[Feature, ...]) -> Columns:
    """Those of a signature that trees can take."""
    taken = [one for one in features if one.type in ("int", "float", "bool", "category")]
    return Columns(tuple(one.name for one in taken), tuple(one.categories for one in taken))


def fit_correction(matrix: Any, truth: Any, chances: Any) -> bytes:
    """Trees that start at the calibrated chances [rows] and correct them by the features."""
    import numpy as np

    return _fit(_STUMPS, matrix, np.asarray(truth, np.float64), logits(chances))


def corrected(model: bytes, matrix: Any, chances: Any) -> Any:
    """Chances [rows] after correction."""
    import numpy as np

    return np.asarray(_predict(model, matrix, logits(chances)), np.float64)


def fit_losses(matrix: Any, losses: Any) -> bytes:
    """Trees for the size of losses [rows], which are not negative; the objective is a gamma deviance, so that no estimate is.

    Losses are given as shares of their mean.
    """
    import numpy as np

    return _fit(_LOSSES, matrix, np.maximum(np.asarray(losses, np.float64), _RELATIVE_FLOOR), None)


def losses(model: bytes, matrix: Any) -> Any:
    """The size that is to be expected of each row's loss, as a share of the mean of those that were learnt from."""
    import numpy as np

    return np.asarray(_predict(model, matrix, None), np.float64)


def together(matrix: Any) -> Any:
    """A matrix as the trees read it, so that several of them share its reading and its bins; one that is so already as it is."""
    import xgboost

    return matrix if isinstance(matrix, xgboost.DMatrix) else xgboost.DMatrix(matrix, nthread=1)


def logits(chances: Any) -> Any:
    """Logits of chances."""
    import numpy as np

    given = np.asarray(chances, np.float64)
    return np.log(given / (1 - given))


def _fit(parameters: dict[str, Any], matrix: Any, target: Any, margin: Any) -> bytes:
    import xgboost

    # One thread: beside a loop that serves, two that wait for each other took ten times as long.
    rows = together(matrix)
    rows.set_label(target)
    if margin is not None:
        rows.set_base_margin(margin)
    fixed = {"tree_method": "hist", "nthread": 1, "seed": 7, "base_score": 0.5 if margin is not None else 1.0}
    return bytes(xgboost.train({**parameters, **fixed}, rows, _ROUNDS).save_raw("ubj"))


def _predict(model: bytes, matrix: Any, margin: Any) -> Any:
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(model))
    except xgboost.core.XGBoostError as error:
        raise DataError(f"the reference's trees cannot be read: {str(error).splitlines()[0]}") from error
    booster.set_param({"nthread": 1})
    rows = together(matrix)
    if margin is not None:
        rows.set_base_margin(margin)
    return booster.predict(rows)


def _numbers(values: Any, rows: int) -> Any:
    import numpy as np

    if values is None:
        return np.full(rows, np.nan)
    found = np.asarray(values, np.float64)
    # An infinity is refused by the trees; it says no more than that there is no number.
    return np.where(np.isfinite(found), found, np.nan)


def _places(values: Any, categories: tuple[str, ...]) -> Any:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(pa.array(values, pa.string(), from_pandas=True), value_set=pa.array(categories, pa.string()))
    return found.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
