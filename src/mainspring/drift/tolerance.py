"""Minimum effect: a PSI that is tolerated, and the critical value above which a window differs by more than that.

Belongs here: what is known without any history, from the sizes of two windows alone. For a reference of N rows, a current
window of M and B groups, PSI over `v = 1/N + 1/M` is asymptotically a noncentral chi-squared with B - 1 degrees of freedom and
noncentrality `psi/v`, where `psi` is the true one (Yurdakul 2018; Potgieter 2023, arXiv 2307.11878). So the claim is about rows
that are independent draws: how far days differ from each other anyway is for `calibration` to say.
"""

from __future__ import annotations


def critical_psi(tolerated: float, rate: float, groups: int, reference_rows: int, current_rows: int) -> float:
    """The PSI that two windows exceed in a share `rate` of cases when their true PSI is `tolerated`, and less often below.

    `groups` is the number of groups that PSI sums over, `rate` in (0, 1).

    >>> round(critical_psi(0.01, 0.01, 10, 1000, 1000), 3), round(critical_psi(0.01, 0.01, 10, 1_000_000, 1_000_000), 4)
    (0.064, 0.0107)
    """
    from scipy.stats import ncx2

    v = _per_row(reference_rows, current_rows)
    return float(v * ncx2.ppf(1.0 - rate, max(groups - 1, 1), tolerated / v))


def tolerance_p_value(psi: float, tolerated: float, groups: int, reference_rows: int, current_rows: int) -> float:
    """The chance of a PSI at least this large when the true one is `tolerated`.

    >>> round(tolerance_p_value(critical_psi(0.01, 0.05, 10, 5000, 800), 0.01, 10, 5000, 800), 6)
    0.05
    """
    from scipy.stats import ncx2

    v = _per_row(reference_rows, current_rows)
    return float(ncx2.sf(psi / v, max(groups - 1, 1), tolerated / v))


def _per_row(reference_rows: int, current_rows: int) -> float:
    if reference_rows < 1 or current_rows < 1:
        raise ValueError(f"windows of {reference_rows} and {current_rows} rows cannot be compared")
    return 1.0 / reference_rows + 1.0 / current_rows
