"""Training/serving skew: requests of the prediction log, or of its sink, replayed against what is offline.

`report` draws them and writes the page, `replay` compares, `offline` says what there was to be served.
"""

from mainspring.platforms.skew.report import SAMPLE, TOLERANCE, skew_of

__all__ = ["SAMPLE", "TOLERANCE", "skew_of"]
