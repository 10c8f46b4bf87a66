"""Estimates without labels: equal to the metric where nothing is left to chance, and intervals that hold what they state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import DataError
from mainspring.domain.metric import METRICS
from mainspring.domain.model_version import Feature
from mainspring.domain.scoring import score
from mainspring.performance.blocks import band, expected
from mainspring.performance.booster import Columns, columns_of, corrected
from mainspring.performance.chances import SMALLEST, fit_chances
from mainspring.performance.expected import Errors, of_classes, of_values
from mainspring.performance.reference import (
    NO_TIMES,
    HeldOutRows,
    PerformanceReference,
    estimate_rows,
    fit_reference,
    metrics_of,
    slices_of,
)

BINARY = metrics_of("binary")


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=5, max_size=60))
@settings(max_examples=60, deadline=None)
def test_where_labels_are_certain_the_estimate_is_the_metric(rows):
    said = np.array([one for one, _ in rows]) / 20
    truth = np.array([float(one) for _, one in rows])
    found = of_classes(BINARY, said, truth)
    for name in BINARY:
        real = score(name, truth, said)
        if np.isfinite(real):
            assert found[name].value == pytest.approx(real, rel=1e-4, abs=1e-5), name
            assert found[name].error == pytest.approx(0, abs=1e-3)
        else:
            assert name not in found


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(1, 5), min_size=4, max_size=4)), min_size=1, max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_several_classes_where_labels_are_certain(rows):
    weights = np.array([one for _, one in rows], np.float64)
    said, truth = weights / weights.sum(axis=1, keepdims=True), np.array([one for one, _ in rows])
    found = of_classes(metrics_of("multiclass"), said, np.eye(4)[truth], [said, np.eye(4)[truth]])
    assert set(found) == set(metrics_of("multiclass"))
    for name, one in found.items():
        assert one.value == pytest.approx(score(name, truth, said), rel=1e-9, abs=1e-12), name
        assert one.error == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=80))
@settings(max_examples=60, deadline=None)
def test_chances_rise_with_what_was_said_and_are_never_certain(rows):
    said, truth = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    found = fit_chances(truth, said)
    if len(set(truth.tolist())) < 2:
        assert found.curves == ()
        return
    chances = found.of(np.linspace(-1, 2, 50))
    assert (np.diff(chances) >= -1e-12).all()
    assert chances.min() >= SMALLEST
    assert chances.max() <= 1 - SMALLEST
    assert found.of(said).mean() == pytest.approx(np.clip(truth.mean(), SMALLEST, 1 - SMALLEST), abs=1e-3)
    assert from_json(type(found), to_json(found)) == found


def world(seed, *, warmer=0.0, days=14, rows=240):
    """Held-out rows of a miscalibrated model, and later ones on warmer days: inputs move, what follows from them does not."""
    generator = np.random.default_rng(seed)

    def part(shift):
        x = generator.normal(shift, 1, days * rows)
        chance = 1 / (1 + np.exp(-x - np.repeat(generator.normal(0, 0.1, days), rows)))
        truth = (generator.uniform(size=len(x)) < chance).astype(float)
        return truth, 1 / (1 + np.exp(-0.5 * x - 0.3)), np.repeat(np.arange(days), rows)

    return part(0.0), part(warmer)


def share_inside(worlds, **more):
    inside = {name: [] for name in ("auc", "log_loss", "brier", "accuracy")}
    for seed in range(worlds):
        held, (truth, said, days) = world(seed, **more)
        reference = fit_reference(HeldOutRows(*held), "binary", "auc", Columns())
        estimates = estimate_rows(reference, said, {})
        for day in range(14):
            here = np.flatnonzero(days == day)
            found = expected(reference, estimates, list(inside), here)
            for name, one in found.items():
                inside[name].append(one.low <= score(name, truth[here], said[here]) <= one.high)
    return {name: np.mean(one) for name, one in inside.items()}


def test_nine_in_ten_days_lie_in_their_interval():
    for name, share in share_inside(12).items():
        assert 0.86 <= share <= 0.98, name


def test_on_days_unlike_the_held_out_ones_nearly_as_many():
    for name, share in share_inside(12, warmer=1.0).items():
        assert share >= 0.80, name


def test_a_shift_is_foreseen_where_what_was_said_is_wrong():
    held, (truth, said, _) = world(3, warmer=1.0)
    reference = fit_reference(HeldOutRows(*held), "binary", "auc", Columns())
    found = expected(reference, estimate_rows(reference, said, {}), ["log_loss", "accuracy"], slice(None), days=14)
    for name, one in found.items():
        real, then = score(name, truth, said), reference.of(name).left_out.value
        assert abs(one.value - real) < abs(then - real) / 3, name
    uncalibrated = of_classes(["log_loss"], said, said)["log_loss"].value
    assert abs(found["log_loss"].value - score("log_loss", truth, said)) < abs(
        uncalibrated - score("log_loss", truth, said)
    )


def test_what_features_say_is_used_where_it_helps_and_left_where_it_does_not():
    generator = np.random.default_rng(5)
    days, x, town = np.repeat(np.arange(14), 300), generator.normal(size=4200), generator.integers(0, 2, 4200)
    truth = (generator.uniform(size=4200) < 1 / (1 + np.exp(-x - 2 * town + 1))).astype(float)
    said = 1 / (1 + np.exp(-x))
    columns = columns_of((Feature("town", "category", categories=("a", "b")), Feature("note", "str")))
    names = np.array(["a", "b"], object)[town]
    helped = fit_reference(HeldOutRows(truth, said, days, values={"town": names}), "binary", "auc", columns)
    assert "correction" in helped.whole.trees
    noise = generator.permutation(names)
    alone = fit_reference(HeldOutRows(truth, said, days, values={"town": noise}), "binary", "auc", columns)
    assert alone.whole.trees == {}
    # Only town b is left: what was said alone does not show it.
    here = town == 1
    real = score("accuracy", truth[here], said[here])
    by_town, by_score = (
        expected(one, estimate_rows(one, said[here], {"town": names[here]}), ["accuracy"], slice(None), days=14)
        for one in (helped, alone)
    )
    assert abs(by_town["accuracy"].value - real) < abs(by_score["accuracy"].value - real)
    # A value that training never saw, an infinity, a column that is gone: missing, and no end.
    odd = np.array(["c", None, "b"], object)
    assert len(estimate_rows(helped, said[:3], {"town": odd}).chances) == 3
    assert len(estimate_rows(helped, said[:3], {}).chances) == 3
    assert np.isnan(Columns(("x",), ((),)).matrix({"x": [np.inf]}, [0.5])[0, 0])


def test_a_reference_is_the_same_after_json_and_refuses_what_is_damaged():
    held, _ = world(1)
    reference = fit_reference(HeldOutRows(*held), "binary", "auc", Columns())
    assert from_json(PerformanceReference, to_json(reference)) == reference
    with pytest.raises(DataError):
        from_json(PerformanceReference, to_json(reference)[:-40])
    with pytest.raises(DataError, match="trees cannot be read"):
        corrected(b"no trees", np.zeros((1, 1)), np.array([0.5]))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("rows", [0, 1, 20, 100])
def test_few_rows_or_one_class_are_findings(task, rows):
    outputs = np.full((rows, 3), 1 / 3) if task == "multiclass" else np.zeros(rows)
    held = HeldOutRows(np.zeros(rows), outputs, np.arange(rows) // 10, timed=False)
    reference = fit_reference(held, task, METRICS["rmse"].name if task == "regression" else "accuracy", Columns())
    assert NO_TIMES in reference.findings
    found = expected(reference, estimate_rows(reference, outputs, {}), metrics_of(task), slice(None))
    assert all(np.isfinite(one.value) for one in found.values())
    for metric in metrics_of(task):
        one = band(reference, "1", metric)
        assert one is None or (one.low, one.high) == (None, None)


def test_values_have_errors_of_their_own_size():
    found = of_values(Errors(np.ones(2), np.full(2, 2.0)))
    assert {name: one.value for name, one in found.items()} == {"mae": 1.0, "rmse": pytest.approx(2**0.5)}
    assert of_values(Errors(np.zeros(1), np.zeros(1))) == {}


def values_world(seed, *, wider=1.0, days=14, rows=150):
    """A model of values that says too little of what moves them; errors grow with one of its inputs. Later its inputs spread
    differently."""
    generator = np.random.default_rng(seed)

    def part(spread):
        x = generator.normal(0, spread, days * rows)
        mood = np.repeat(generator.normal(0, 0.1, days), rows)
        truth = 5 + 2 * x + mood + generator.normal(0, 0.5 + 0.5 * np.abs(x))
        return truth, 4.5 + 1.6 * x, np.repeat(np.arange(days), rows), x

    return part(1.0), part(wider)


@pytest.mark.parametrize("wider", [1.0, 0.5, 1.5])
def test_r2_follows_how_far_inputs_spread(wider):
    columns, inside, nearer = columns_of((Feature("x", "float"),)), [], []
    for seed in range(12):
        (held_truth, held_said, held_days, held_x), (truth, said, days, x) = values_world(seed, wider=wider)
        rows = HeldOutRows(held_truth, held_said, held_days, values={"x": held_x})
        reference = fit_reference(rows, "regression", "mae", columns)
        estimates = estimate_rows(reference, said, {"x": x})
        whole = expected(reference, estimates, ["r2"], slice(None), days=14)["r2"]
        real, then = score("r2", truth, said), reference.of("r2").left_out.value
        nearer.append(abs(whole.value - real) < abs(then - real))
        for day in range(14):
            here = np.flatnonzero(days == day)
            one = expected(reference, estimates, ["r2"], here)["r2"]
            inside.append(one.low <= score("r2", truth[here], said[here]) <= one.high)
    assert 0.83 <= np.mean(inside) <= 0.98
    assert wider == 1.0 or np.mean(nearer) > 0.8


def test_chance_moves_r2_as_much_as_is_said():
    generator = np.random.default_rng(1)
    x = generator.normal(0, 1, 200)
    noise = 0.3 + x**2
    said = 3 + x
    errors = Errors(np.sqrt(2 * noise / np.pi), noise, said, noise)
    drawn = [score("r2", said + generator.normal(0, 1, 200) * np.sqrt(noise), said) for _ in range(4000)]
    found = of_values(errors)["r2"]
    assert found.value == pytest.approx(np.mean(drawn), abs=0.03)
    assert found.error == pytest.approx(np.std(drawn), rel=0.15)


def test_a_band_holds_nine_new_days_in_ten():
    inside = []
    for seed in range(20):
        held, later = world(seed, rows=120)
        reference = fit_reference(HeldOutRows(*held), "binary", "brier", Columns())
        found = band(reference, "1", "brier")
        truth, said, days = later
        inside += [not found.excludes(score("brier", truth[days == day], said[days == day])) for day in range(14)]
    assert 0.83 <= np.mean(inside) <= 0.96  # 280 days, those of a world share a band


def test_of_many_values_slices_are_those_with_the_most_rows():
    found = slices_of({"city": np.repeat(np.arange(80), np.arange(80))})
    assert len(found) == 50
    assert "city=79" in found
    assert "city=1" not in found
    assert found["city=79"].tolist() == list(range(79 * 78 // 2, 79 * 78 // 2 + 79))
