"""An A/B step from the access log and a source to the step's judgement: users are the unit, and what they brought decides."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.domain.errors import ConfigError
from mainspring.domain.rollout import Rollout
from mainspring.platforms.business import business_of
from mainspring.platforms.rollout_tests import LaptopRolloutTests
from mainspring.rollout.rules import judge
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings
from mainspring.sources.open import open_sources

AT = datetime(2026, 3, 1, tzinfo=UTC)
SALT = "07" * 16
BUSINESS = {"source": "orders", "column": "revenue", "join": "user", "key": "customer", "range": [0, 100]}
AB = {"user": "x-user", "percent": 50, "time": "7d", "min_users": 100}


def hashed(user):
    return hashlib.sha256(f"{SALT}:{user}".encode()).hexdigest()[:32]


class Shop:
    """An access log and a file of orders, written by hand, and what the rollout's tests make of them."""

    def __init__(self, folder, *, ab=(), business=BUSINESS, **rollout):
        self.paths = ProjectPaths(folder)
        self.paths.proxy.mkdir(parents=True)
        self.settings = ProjectSettings.model_validate(
            {
                "name": "shop",
                "task": "binary",
                "sources": {
                    "s": {"path": "s.csv"},
                    "orders": {"path": "orders.csv", "time": "at", "delay": "1h", "columns": {"customer": "str"}},
                },
                "target": {"source": "s", "column": "y"},
                "rollout": {"steps": [{"ab": {**AB, **dict(ab)}}], "business": business, **rollout},
            }
        )
        self.log = self.paths.proxy / "access.log"
        self.orders = folder / "orders.csv"
        self.orders.write_text("customer,request_id,at,revenue\n")
        (folder / "s.csv").write_text("y\n1\n")
        self.rollout = self._rollout()
        self.number = 0

    def _rollout(self):
        given = self.settings.rollout
        return Rollout(
            "1-to-2-1", "1", "2", phase="canary", weight_percent=50, steps=given.strategy(), phase_since=AT,
            sticky_header=given.sticky_header, salt=SALT,
        )  # fmt: skip

    def ask(self, user, arm, at, *, failed=False, ms=1):
        """One line of the access log."""
        self.number += 1
        line = {
            "at": f"{at:%Y-%m-%dT%H:%M:%S.000Z}", "id": f"q{self.number}", "arm": arm, "rollout": self.rollout.id,
            "role": None, "weight": "50", "cohort": None, "user": hashed(user) if user else None,
            "code": 200, "flags": "-", "upstream": "", "event_at": None, "method": "POST", "path": "/", "us": ms * 1000,
            "attempts": 2 if failed else 1,
        }  # fmt: skip
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        return line["id"]

    def order(self, user, at, revenue, request=""):
        with self.orders.open("a") as orders:
            orders.write(f"{user},{request},{at.isoformat()},{revenue}\n")

    def look(self, now, **more):
        """What a loop that starts anew knows."""
        evidence = EnvoyEvidence(self.paths, self.settings.rollout, **more)
        sources = lambda: open_sources(self.settings.sources, self.paths.root)  # noqa: E731
        business = business_of(self.settings, sources, evidence)
        found = LaptopRolloutTests(self.settings, evidence, None, business).look(self.rollout, now)
        return found, judge(self.rollout, found, self.settings.rollout, now)

    def week(self, lift, users=1200, seed=3, **more):
        """Users who come once each over five days; a third of them buys for 10, the candidate's for `lift` times as much."""
        rng = np.random.default_rng(seed)
        for place in range(users):
            at = AT + timedelta(days=5) * (place / users)
            arm = "candidate" if rng.random() < 0.5 else "stable"
            request = self.ask(f"u{place}", arm, at, **more)
            if rng.random() < 1 / 3:
                self.order(f"u{place}", at + timedelta(hours=2), 10 * (lift if arm == "candidate" else 1), request)


END = AT + timedelta(days=8)


def test_a_candidate_that_brings_more_is_promoted_once_the_week_is_over(tmp_path):
    shop = Shop(tmp_path, ab={"evidence": "beat"})
    shop.week(2.5)
    _, verdict = shop.look(AT + timedelta(days=6, hours=23))
    assert (verdict.action, verdict.reason) == ("continue", "least time at this step is 7d")
    found, verdict = shop.look(END)
    assert found.business.outcome == "ACCEPT"
    assert verdict.action == "promote"
    assert "users of the candidate brought" in verdict.reason
    assert "shown to be better than stable" in verdict.numbers["business"]
    assert found.users > 500


def test_a_candidate_that_costs_the_business_goes_back_before_the_week_is_over(tmp_path):
    shop = Shop(tmp_path)
    shop.week(0.2)
    _, verdict = shop.look(AT + timedelta(days=6, hours=12))
    assert verdict.action == "roll_back"
    assert "business: users of the candidate brought" in verdict.reason
    assert verdict.numbers["log_e"]["business.harm"] > verdict.numbers["log_thresholds"]["business.harm"]


def test_what_is_not_decided_says_what_is_still_needed_and_goes_back_in_the_end(tmp_path):
    shop = Shop(tmp_path, ab={"evidence": "beat"}, undecided={"after": "20d"})
    shop.week(1.2)
    found, verdict = shop.look(END)
    assert (found.business.outcome, verdict.action) == ("INCONCLUSIVE", "continue")
    assert "more users, at the effect seen so far (an estimate)" in verdict.reason
    _, verdict = shop.look(AT + timedelta(days=20))
    assert (verdict.action, verdict.reason[:21]) == ("roll_back", "undecided after 20d: ")


def test_too_few_users_of_the_candidate_are_waited_for(tmp_path):
    shop = Shop(tmp_path, ab={"min_users": 300, "min_requests": 10})
    shop.week(1, users=400)
    _, verdict = shop.look(END)
    assert verdict.action == "continue"
    assert "of at least 300 users of the candidate so far" in verdict.reason


def test_one_client_that_always_fails_sends_nobody_back_and_a_broken_candidate_goes_back(tmp_path):
    good = Shop(tmp_path / "good", business=None)
    good.week(1, users=400)
    for _ in range(3000):
        good.ask("mad", "candidate", AT + timedelta(days=1), failed=True)
    found, verdict = good.look(END)
    assert verdict.action == "promote", verdict
    assert found.counted.startswith("1 of ")
    bad = Shop(tmp_path / "bad", business=None)
    rng = np.random.default_rng(1)
    for place in range(300):
        arm = "candidate" if rng.random() < 0.5 else "stable"
        bad.ask(f"u{place}", arm, AT, failed=arm == "candidate" and rng.random() < 0.2)
    _, verdict = bad.look(AT + timedelta(minutes=1))
    assert verdict.action == "roll_back"
    assert "errors: users of the candidate" in verdict.reason


def test_a_candidate_that_breaks_when_all_users_are_known_goes_back(tmp_path):
    shop = Shop(tmp_path, business=None)
    rng = np.random.default_rng(1)
    arms = {f"u{place}": "candidate" if rng.random() < 0.5 else "stable" for place in range(200)}
    for hour in range(60):
        for user, arm in arms.items():
            shop.ask(
                user, arm, AT + timedelta(hours=hour), failed=hour >= 50 and arm == "candidate" and rng.random() < 0.5
            )
        _, verdict = shop.look(AT + timedelta(hours=hour, minutes=59)) if hour in (49, 50) else (None, None)
        if hour == 49:
            assert verdict.action == "continue"
        if hour == 50:
            assert verdict.action == "roll_back"
            return


def test_slow_first_requests_of_users_are_found(tmp_path):
    shop = Shop(tmp_path, business=None)
    rng = np.random.default_rng(1)
    for place in range(400):
        arm = "candidate" if rng.random() < 0.5 else "stable"
        shop.ask(f"u{place}", arm, AT, ms=900 if arm == "candidate" and place % 2 else 1)
    shop.rollout = type(shop.rollout)(**{**_fields(shop.rollout), "tau_seconds": 0.1})
    _, verdict = shop.look(AT + timedelta(minutes=1))
    assert verdict.action == "roll_back"
    assert "latency: users of the candidate whose first request took longer than 0.1 s" in verdict.reason


def _fields(noun):
    return {name: getattr(noun, name) for name in noun.__slots__}


def test_users_who_are_not_split_as_asked_accept_nothing(tmp_path):
    shop = Shop(tmp_path, business=None)
    for place in range(600):
        shop.ask(f"u{place}", "candidate" if place % 3 == 0 else "stable", AT + timedelta(hours=place / 5))
    _, verdict = shop.look(END)
    assert verdict.action == "continue"
    assert (
        "the split is off: 200 of 600 users were assigned to the candidate (33.33%), not the 50.00%" in verdict.reason
    )


@pytest.mark.parametrize("sticky", [True, False])
def test_orders_meet_their_users_by_request_id_too(tmp_path, sticky):
    business = {**BUSINESS, "join": "request_id", "key": None}
    steps = {} if sticky else {"steps": [50]}
    shop = Shop(tmp_path, business=business, **steps)
    shop.week(0.2)
    found, _ = shop.look(END)
    assert found.business.outcome == "REJECT"
    assert found.business.reason.startswith(f"{'users' if sticky else 'requests'} of the candidate brought ")


def test_what_a_user_brought_is_what_was_known_when_his_time_was_over(tmp_path):
    shop = Shop(tmp_path, business={**BUSINESS, "wait": "3h"})
    shop.ask("eva", "candidate", AT)
    shop.ask("ada", "stable", AT)
    shop.ask("late", "stable", AT + timedelta(days=7))
    shop.order("eva", AT - timedelta(minutes=1), 1)  # before he came
    shop.order("eva", AT + timedelta(hours=1), 2)
    shop.order("eva", AT + timedelta(hours=23, minutes=59), 4)
    shop.order("eva", AT + timedelta(hours=24), 8)  # after his window
    shop.order("ada", AT + timedelta(hours=1), 5000)  # beyond the range
    shop.order("nobody", AT + timedelta(hours=1), 16)
    found = brought(shop, END - timedelta(hours=1))
    assert sorted(zip(found.values.tolist(), found.on_candidate.tolist(), strict=True)) == [(6.0, True), (100.0, False)]
    assert (found.clipped, found.waiting, found.strangers) == (1, 1, 1)
    assert brought(shop, AT + timedelta(hours=26)).values.size == 0  # a window, and the three hours that rows may take
    assert brought(shop, AT + timedelta(hours=27)).values.size == 2


def brought(shop, now):
    evidence = EnvoyEvidence(shop.paths, shop.settings.rollout)
    evidence.users(shop.rollout.id)
    business = business_of(shop.settings, lambda: open_sources(shop.settings.sources, shop.paths.root), evidence)
    return business.brought(shop.rollout, now)


@pytest.mark.parametrize(("kind", "values"), [("sum", [0.0, 0.0, 6.0]), ("any", [0.0, 0.0, 1.0]), ("mean", [0.0, 3.0])])
def test_kinds_of_what_a_user_brings(tmp_path, kind, values):
    shop = Shop(tmp_path, business={**BUSINESS, "kind": kind})
    for user in ("eva", "ada", "bob"):
        shop.ask(user, "stable", AT)
    for revenue in (2, 4):
        shop.order("eva", AT + timedelta(hours=1), revenue)
    shop.order("ada", AT + timedelta(hours=1), 0)
    shop.order("bob", AT + timedelta(hours=1), "")
    found = brought(shop, END)
    assert sorted(found.values.tolist()) == values
    assert found.unmeasured == (1 if kind == "mean" else 0)


def test_how_long_rows_are_waited_for_has_to_be_said_where_they_come_when_they_come(tmp_path):
    shop = Shop(tmp_path)
    raw = shop.settings.model_dump(mode="json", exclude_unset=True)
    raw["sources"]["orders"] = {"path": "orders.csv", "time": "at", "available_at": "known"}
    with pytest.raises(ValueError, match="rows of 'orders' say when they became known"):
        ProjectSettings.model_validate(raw)
    shop.orders.write_text("customer,request_id,at,revenue,known\n")
    raw["rollout"]["business"] |= {"wait": "2d"}
    shop.settings = ProjectSettings.model_validate(raw)
    for user in ("eva", "ada"):
        shop.ask(user, "stable", AT)
    with shop.orders.open("a") as orders:
        for user, days in (("eva", 2.9), ("ada", 3.1)):
            happened, known = AT + timedelta(hours=1), AT + timedelta(days=days)
            orders.write(f"{user},,{happened.isoformat()},10,{known.isoformat()}\n")
    for later in (3, 4):  # what came too late is not added later
        assert sorted(brought(shop, AT + timedelta(days=later)).values.tolist()) == [0.0, 10.0]
    assert brought(shop, AT + timedelta(days=2.95)).values.size == 0


def test_orders_that_meet_nobody_are_told(tmp_path):
    shop = Shop(tmp_path, business={**BUSINESS, "key": "request_id"})
    shop.week(0.2, users=400)
    found, verdict = shop.look(END)
    assert found.business.outcome == "INCONCLUSIVE"
    assert verdict.action == "continue"
    assert "rows met anybody: `rollout.business.key` has to name what callers send" in verdict.reason


def test_a_column_without_numbers_is_told(tmp_path):
    shop = Shop(tmp_path, business={**BUSINESS, "column": "request_id"})
    shop.week(1, users=50)
    assert "rollout.business cannot be read: column 'request_id' has no numbers" in shop.look(END)[0].blind


def test_a_source_that_cannot_be_read_accepts_nothing_and_stops_no_way_back(tmp_path):
    shop = Shop(tmp_path, business={**BUSINESS, "column": "profit"})
    shop.week(1, users=400)
    found, verdict = shop.look(END)
    assert (found.business.outcome, verdict.action) == ("INCONCLUSIVE", "continue")
    assert (
        "nothing is accepted: rollout.business cannot be read: source 'orders' has no column 'profit'" in verdict.reason
    )
    with pytest.raises(ConfigError, match="source 'orders' has no column 'profit'") as error:
        brought(shop, END)
    assert error.value.where == "mainspring.yaml: rollout.business.column"
    shop.orders.unlink()
    for place in range(100):
        shop.ask(f"bad{place}", "candidate", AT + timedelta(days=6), failed=True)
    assert shop.look(END)[1].action == "roll_back"


def test_status_looks_at_what_the_loop_has_counted_and_changes_nothing(tmp_path):
    shop = Shop(tmp_path, business=None)
    shop.week(1, users=50)
    assert shop.look(END, writes=False)[0].users == 0
    assert not (shop.paths.proxy / "users.db").exists()
    users = shop.look(END)[0].users
    shop.week(1, users=50)
    assert shop.look(END, writes=False)[0].users == users > 0
