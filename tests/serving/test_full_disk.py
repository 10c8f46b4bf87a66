"""A predictor whose disk takes no more bytes, and then takes some again: the kernel's own refusal, by a limit on file size."""

import resource
import time
from collections import Counter

import pytest

from tests.serving.models import RAIN
from tests.serving.real import body_of, running

FULL, UNLIMITED = (1, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def ask(process, name):
    answer = process.ask("POST", "/v2/models/rain/infer", RAIN, {"x-request-id": name})
    return answer[0], body_of(answer)


@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_a_full_disk_refuses_or_serves_as_the_project_says_and_recovers(model, tmp_path, policy):
    with running(model[0], tmp_path, on_log_failure=policy, segment_seconds=0.5) as process:
        assert [ask(process, f"before{place}")[0] for place in range(5)] == [200] * 5
        resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, FULL)
        found = [ask(process, f"full{place}") for place in range(5)]
        if policy == "refuse":
            assert {status for status, _ in found} == {503}
            assert found[0][1]["error"] == "the answer could not be logged: File too large"
        else:
            assert {status for status, _ in found} == {200}
        assert process.count("mainspring_log_failures_total") == 5
        time.sleep(1.2)  # the segment is too old by now: the next one cannot be begun
        assert ask(process, "full5")[0] == found[0][0]
        assert process.ready()
        resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        assert [ask(process, f"after{place}")[0] for place in range(5)] == [200] * 5
        assert process.count("mainspring_log_failures_total") == 6
        rows = process.logged()
    wanted = [f"{when}{place}" for when in ("before", "after") for place in range(5)]
    assert Counter(row.request_id for row in rows) == Counter(wanted)
    told = (tmp_path / "output.log").read_text()
    # What it says goes to a disk that may be full, too: the end is told for certain.
    assert '"rows_not_logged": 6' in told


def test_a_log_that_cannot_be_begun_is_told(model, tmp_path):
    (tmp_path / "segments").write_text("a file where a folder should be")
    with (
        pytest.raises(AssertionError, match=r"File exists: .*cannot serve"),
        running(model[0], tmp_path),
    ):
        pass
