"""`python -m tests.slow.callers ADDRESS PREFIX COUNT`: asks so many questions, eight at a time, and says how it went, as JSON.

In event time two thousand of them are an hour: a whole day of the log passes by.
"""

import json
import sys
from datetime import UTC, datetime, timedelta

from mainspring.demo.client import Callers, Question
from tests.serving.models import RAIN

_START, _EVERY = datetime(2026, 3, 1, tzinfo=UTC), timedelta(seconds=1.8)


def main(address, prefix, count):
    """Ask; the tally goes to standard output."""
    callers = Callers(address, "/v2/models/rain/infer")
    instants = [(_START + place * _EVERY).isoformat() for place in range(count)]
    callers.ask([Question(f"{prefix}{place}", at, RAIN) for place, at in enumerate(instants)])
    callers.close()
    tally = callers.tally
    print(json.dumps({"requests": tally.requests, "failed": tally.failed, "examples": tally.examples}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
