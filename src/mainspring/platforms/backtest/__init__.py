"""`mainspring backtest`: the past, replayed through retraining policies before they are switched on.

The loop's own chores turn here (drift, runs, retraining) over a ledger of their own; what stands in is the outside: a
pipeline that fits and judges in this process, a registry in memory, and a rollout that takes its least time and succeeds.
"""

from mainspring.platforms.backtest.replay import BacktestRequest, backtest

__all__ = ["BacktestRequest", "backtest"]
