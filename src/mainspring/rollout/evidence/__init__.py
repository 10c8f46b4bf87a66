"""Evidence of a rollout: tests that may be looked at after every request and still keep their stated error rate.

Each test keeps a log e-value: the wealth of somebody who bets against a null hypothesis at fair odds. While the hypothesis
holds, the chance that the wealth ever reaches `1/alpha` is at most `alpha` (Ville's inequality), however often one looks.

- `verdict`: `Evidence`, what a test says, and how several are told as one.
- `budget`: one `alpha` for the rollout, shared among the tests that can end it.
- `errors`: errors of the candidate beside stable's, by a ratio and by a margin. `ratio`: the processes of the first.
- `latency`: the same on requests slower than a bucket edge; a band around all quantiles beside it.
- `quality`: match or beat, on blocks of time. `margin`: what "match" may cost. `forecast`: how many blocks it still takes.
- `sample_ratio`: whether the split is the one that was configured.
- `mixture`: the betas and logarithms that they share.

Belongs here: pure functions and frozen nouns, whose state is JSON through `domain.codec`. Forbidden: I/O, clocks,
randomness without a seed, and imports from any other room than `domain`.
"""
