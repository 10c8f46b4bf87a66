"""A loop that starts anew over what still runs, or no longer does."""

from dataclasses import replace

from mainspring.loop import reconcile
from tests.loop.world import World


def test_after_a_full_stop_a_canary_gets_its_share_only_once_it_can_answer(tmp_path):
    world = World(tmp_path, rollout={"step_time": "1h", "min_requests": 10})
    platform = world.served()
    world.add("2")
    for _ in range(5):
        reconcile(platform)
    assert world.weights == {"stable": 90, "candidate": 10}
    # Everything was stopped. Stable is up first.
    world.weights = {}
    world.running["2", ""] = replace(world.running["2", ""], ready=False)
    tick = reconcile(world.platform())
    assert (tick.outcomes["rollout"], world.weights) == ("waiting", {})
    world.running["2", ""] = replace(world.running["2", ""], ready=True)
    reconcile(world.platform())
    assert world.weights == {"stable": 90, "candidate": 10}


def test_a_candidate_that_dies_while_it_serves_keeps_its_share_and_so_its_errors(tmp_path):
    world = World(tmp_path, rollout={"step_time": "1h", "min_requests": 10})
    platform = world.served()
    world.add("2")
    for _ in range(5):
        reconcile(platform)
    world.running["2", ""] = replace(world.running["2", ""], ready=False)
    tick = reconcile(platform)
    assert (tick.outcomes["rollout"], world.weights) == ("still", {"stable": 90, "candidate": 10})


def test_a_candidate_whose_predictor_was_given_up_is_rolled_back_without_a_single_request(tmp_path):
    world = World(tmp_path, rollout={"step_time": "1h", "min_requests": 10})
    platform = world.served()
    world.add("2")
    for _ in range(5):
        reconcile(platform)
    world.running["2", ""] = replace(world.running["2", ""], ready=False, reason="given up after 5 starts; no memory")
    reconcile(platform)
    (decision,) = platform.ledger.decisions(kind="rolled_back")
    assert decision.why == "its predictor does not run: given up after 5 starts; no memory"
