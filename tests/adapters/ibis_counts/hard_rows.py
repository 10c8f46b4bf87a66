"""A table with everything in it that engines order, compare or spell differently, and the cells to count it over."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa

from mainspring.drift.cells import BOOLEANS, Cells
from mainspring.drift.fitting import fit_cells

ROWS = 2400
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SPECIAL = [None, np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300]
WORDS = [
    "a", "b", "B", "b ", " b", "", None, "it's", 'say "x"', "back\\slash", "{brace}", "%s %(x)s", "@edges_0", "é", "e\u0301",
    "日本", "🙂", "null", "NaN", "true", "line\nbreak", "$1", "${HOME}", ":name", "?", "--", "/* */", "tab\there",
]  # fmt: skip
TINY = [5e-324, -5e-324, 1e-323, 2.2250738585072014e-308, 0.0, -0.0, 1e-310, None]
HUGE = [1.7976931348623157e308, -1.7976931348623157e308, 1e308, 9.99e307, 0.0, None]
WHOLE = [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0, 1, None]


def _some(choices, kind, seed):
    picks = np.random.default_rng(seed).integers(0, len(choices), ROWS)
    return pa.array([choices[one] for one in picks], kind)


def rows():
    """The table."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=ROWS).round(2)
    mixed = [SPECIAL[k % len(SPECIAL)] if k % 7 == 0 else float(one) for k, one in enumerate(x)]
    seconds = generator.integers(0, 30 * 86400, ROWS)
    times = [FIRST + timedelta(seconds=int(one), microseconds=int(one) % 1000) for one in seconds]
    return pa.table(
        {
            "x": pa.array(mixed, pa.float64()),
            "skewed": pa.array(generator.exponential(size=ROWS) * (generator.uniform(size=ROWS) > 0.6)),
            "tiny": _some(TINY, pa.float64(), 1),
            "huge": _some(HUGE, pa.float64(), 2),
            "whole": _some(WHOLE, pa.int64(), 3),
            "single": pa.array(generator.normal(size=ROWS).astype(np.float32)),
            "money": _some([Decimal("0.10"), Decimal("19.99"), Decimal("-3.35"), None], pa.decimal128(12, 2), 4),
            "flag": _some([True, False, None], pa.bool_(), 5),
            "kind": _some(WORDS, pa.string(), 6),
            "name": pa.array([f"user {one} é" if one % 11 else "" for one in range(ROWS)], pa.string()),
            "happened": pa.array(
                [None if one % 50 == 0 else at for one, at in enumerate(times)], pa.timestamp("us", "UTC")
            ),
            "local": pa.array([at.replace(tzinfo=None) for at in times], pa.timestamp("us")),
            "day": _some([date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31), None], pa.date32(), 7),
            "nothing": pa.array([None] * ROWS, pa.float64()),
            "constant": pa.array([7.0] * ROWS, pa.float64()),
            "ones": _some([0.0, 1.0, 0.5, np.nan, np.inf, None], pa.float64(), 8),
        }
    )


def cells(table):
    """Cells for each column, fitted on a part of it so that there is something beyond them, and some that do not fit."""
    part = table.slice(0, ROWS // 3)
    fitted = {name: fit_cells(part.column(name), "category" if name == "kind" else None) for name in table.column_names}
    return fitted | {
        "x": Cells("number", np.array([-1.5, -5e-324, 0.0, 5e-324, 0.25, 1.0])),
        "tiny": Cells("number", np.array([-5e-324, 0.0, 5e-324, 1e-310])),
        "huge": Cells("number", np.array([-1e3, 1e3])),
        "whole": Cells("number", np.array([-(2.0**53), 0.0, 2.0**53])),
        "kind": Cells("category", categories=tuple(one for one in WORDS[:-3] if one)),
        "name": Cells("hashed"),
        "nothing": Cells("number"),
        "ones": Cells("boolean", categories=BOOLEANS),
    }
