"""What is gRPC's own behind any router: statuses that are a fault or a mistake, calls that are no evidence, and no gRPC."""

import time

import grpc
import pytest
from tests.adapters.traffic.backends import ask
from tests.adapters.traffic.grpc_side import INFER, SERVICE, GrpcCaller

from mainspring.domain.log_record import decode_row, frames, read_header, to_prediction
from mainspring.domain.rollout import Rollout

FAULTS = {"CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
CANARY = Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=100)
IDLE = Rollout("none", "1")


@pytest.fixture
def routed(make):
    return make("grpc")


def failures(routed):
    """What was written to the prediction log, all of it."""
    routed.evidence.record_failures()
    found = []
    for path in sorted(routed.evidence._segments.glob("*")):
        data = path.read_bytes()
        header, position = read_header(data)
        found += [to_prediction(header, decode_row(raw)) for _, raw in frames(data, position)]
    return found


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_a_fault_of_the_candidate_is_answered_by_stable_and_a_mistake_of_the_caller_is_his(routed, code):
    routed.candidate.grpc.code = code
    routed.apply(CANARY)
    said, answer = routed.caller.call("q1")
    candidate = routed.counts(CANARY.id, 1)["candidate"]
    assert (candidate.requests, candidate.user_errors) == (1, 0)
    if code.name in FAULTS:
        assert (said, answer["name"], candidate.upstream_errors) == ("OK", "1", 1)
        assert routed.evidence.failed_attempts(CANARY.id) == {"candidate": {code.name: 1}}
    else:
        assert (said, answer, candidate.upstream_errors) == (code.name, "as the test wants it", 0)
        assert routed.evidence.failed_attempts(CANARY.id) == {}
    assert failures(routed) == []


@pytest.mark.parametrize("early", [False, True])
def test_an_error_that_a_caller_saw_counts_and_is_in_the_prediction_log(routed, early):
    for one in (routed.stable, routed.candidate):
        one.grpc.code, one.grpc.early = grpc.StatusCode.DATA_LOSS, early
    routed.apply(CANARY)
    assert routed.caller.call("lost") == ("DATA_LOSS", "as the test wants it")
    candidate = routed.counts(CANARY.id, 1)["candidate"]
    assert (candidate.requests, candidate.upstream_errors, candidate.user_errors) == (1, 1, 1)
    # Headers that came before the status are the caller's already: nobody else can be asked.
    assert len(routed.stable.got) == (0 if early else 1)
    (row,) = failures(routed)
    reason = "DATA_LOSS" if early else "DATA_LOSS URX"
    assert (row.request_id, row.arm, row.outcome, row.reason) == ("lost", "candidate", "failed", reason)
    assert failures(routed) == [row]


def test_nobody_who_listens_is_unavailable_at_once(routed):
    routed.stable.die()
    routed.apply(IDLE)
    began = time.monotonic()
    assert routed.caller.call("q1")[0] == "UNAVAILABLE"
    assert time.monotonic() - began < 2
    assert routed.counts("none", 1)["stable"].user_errors == 1
    (row,) = failures(routed)
    assert row.reason == "UNAVAILABLE URX,UF"


@pytest.mark.parametrize("code", ["OK", "UNAVAILABLE"])
def test_other_calls_pass_and_are_no_evidence(routed, code):
    routed.apply(CANARY)
    for one in (routed.stable, routed.candidate):
        one.grpc.code = grpc.StatusCode[code]
    assert routed.caller.call("live", path=f"/{SERVICE}/ServerLive")[0] == code
    assert routed.caller.call("other", path="/grpc.reflection.v1.ServerReflection/x")[0] == "UNIMPLEMENTED"
    routed.caller.call("q1")
    counts = routed.counts(CANARY.id, 1)["candidate"]
    assert (counts.requests, counts.upstream_errors) == (1, code != "OK")
    assert [row.request_id for row in failures(routed)] == ([] if code == "OK" else ["q1"])


def test_a_caller_who_does_not_wait_counts_as_over_rest(routed):
    routed.stable.going.clear()
    routed.apply(IDLE)
    assert routed.caller.call("q1", timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    assert routed.counts("none", 1)["stable"].user_errors == 1


def test_a_probe_that_does_not_wait_is_no_evidence(routed):
    routed.candidate.going.clear()
    routed.apply(CANARY)
    assert routed.caller.call("probe", path=f"/{SERVICE}/ServerLive", timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    routed.candidate.going.set()
    routed.caller.call("q1")
    candidate = routed.counts(CANARY.id, 1)["candidate"]
    assert (candidate.requests, candidate.upstream_errors) == (1, 0)
    assert failures(routed) == []


def test_a_hang_ends_within_the_time_that_callers_wait_at_most(routed):
    routed.stable.going.clear()
    routed.apply(IDLE)
    began = time.monotonic()
    assert routed.caller.call("q1")[0] == "UNAVAILABLE"
    assert time.monotonic() - began < 4


def test_a_user_has_the_same_arm_over_both_wires(routed):
    routed.apply(Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=50, sticky_header="x-user"))
    names = set()
    for place in range(60):
        over_grpc = routed.ask(f"g{place}", x_user=f"u{place}")[1]
        over_rest = ask(routed.router, f"r{place}", x_user=f"u{place}")[1]
        assert over_grpc["mainspring-user"] == over_rest["mainspring-user"]
        assert over_grpc["name"] == over_rest["name"]
        names.add(over_grpc["name"])
    assert names == {"1", "2"}
    assert sum(one.requests for one in routed.counts("1-to-2-1", 120).values()) == 120


def test_who_speaks_grpc_where_nobody_does_is_told_so(make):
    routed = make("rest")
    routed.apply(CANARY)
    caller = GrpcCaller(routed.router)
    code, text = caller.call("q1")
    caller.close()
    assert (code, "serving.grpc: true" in text) == ("UNIMPLEMENTED", True)
    assert routed.ask("q2")[0] == 200
    assert routed.counts(CANARY.id, 1)["candidate"].requests == 1
    assert failures(routed) == []


def test_an_encoding_that_nobody_reads_is_the_callers_mistake(routed):
    routed.apply(CANARY)
    # This library would not send what it does not know itself: over HTTP/1.1 the header is as it is.
    headers = {"content_type": "application/grpc", "te": "trailers", "grpc_encoding": "snappy"}
    assert ask(routed.router, "q1", b"\0\0\0\0\2{}", INFER, **headers)[0] == 200
    assert routed.candidate.got == []
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert routed.caller.call("q2", b"{}" * 1000, compression=compression)[0] == "OK"
    candidate = routed.counts(CANARY.id, 2)["candidate"]
    assert (candidate.requests, candidate.upstream_errors) == (2, 0)
    assert failures(routed) == []


@pytest.mark.parametrize("silent", ["stable", "candidate"])
def test_grpc_waits_until_both_versions_speak_it(routed, silent):
    one = getattr(routed, silent)
    side, one.grpc = one.grpc, None
    routed.apply(CANARY)
    assert routed.caller.call("q1")[0] == "UNIMPLEMENTED"
    assert ask(routed.router, "q1")[0] == 200
    one.grpc = side
    routed.apply(CANARY)
    assert routed.caller.call("q1")[0] == "OK"
