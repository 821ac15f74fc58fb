"""Curves drawn on purpose, and what is said of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.pretrain.verdict import MIN_LOOKS, judge_curve, judge_run, look_noise

EPOCHS = np.arange(0, 205, 5.0)


def saturating(tau: float, *, noise: float, seed: int, epochs=EPOCHS, gain: float = 0.2) -> np.ndarray:
    """From 0.6 towards 0.6 + gain; 95 % of the way after three tau."""
    scatter = np.random.default_rng(seed).normal(size=len(epochs))
    return 0.6 + gain * (1 - np.exp(-epochs / tau)) + noise * scatter


def said(values, epochs=EPOCHS) -> str:
    return judge_curve(list(epochs), list(values)).state


def share(state: str, draw, num: int = 80) -> float:
    return float(np.mean([said(draw(seed)) == state for seed in range(num)]))


@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01])
def test_a_curve_that_saturated_long_ago_is_flat(noise):
    assert share("flat", lambda seed: saturating(15, noise=noise, seed=seed)) > 0.88


@pytest.mark.parametrize(("noise", "how_often"), [(0.002, 1.0), (0.005, 0.99), (0.01, 0.85)])
def test_a_curve_still_far_from_its_end_is_rising(noise, how_often):
    # tau of 150 epochs: the last third of 200 gains 0.2 (exp(-0.89) - exp(-1.33)) = 0.029.
    assert share("still rising", lambda seed: saturating(150, noise=noise, seed=seed)) >= how_often


def test_one_steep_start_does_not_count_as_noise():
    # After one look of 10 all is gained; then the noise is 0.002, not the 0.06 of the jump.
    values = np.r_[0.5, 0.7 + 0.002 * np.random.default_rng(0).normal(size=9)]
    verdict = judge_curve(list(range(10)), list(values))
    assert verdict.noise < 0.004
    assert verdict.since_epoch == 1


def test_it_says_where_flat_began():
    # 0.2 exp(-t / 15) falls below two standard deviations of 0.005 at t = 15 ln 20 = 45.
    began = [
        judge_curve(list(EPOCHS), list(saturating(15, noise=0.005, seed=seed))).since_epoch
        for seed in range(40)
    ]
    assert 30 <= np.median([at for at in began if at is not None]) <= 55


def test_it_says_where_flat_began_to_the_look_where_there_is_no_noise():
    values = np.minimum(0.5 + 0.01 * np.arange(41), 0.65)  # reaches its end at the 16th look, epoch 75
    verdict = judge_curve(list(EPOCHS), list(values))
    assert verdict.state == "flat"
    assert verdict.since_epoch == 75


def test_pure_noise_is_seldom_called_rising_and_mostly_flat_from_the_start():
    def draw(seed):
        return 0.7 + 0.02 * np.random.default_rng(seed).normal(size=41)

    assert share("still rising", draw) < 0.09
    began = [judge_curve(list(EPOCHS), list(draw(seed))) for seed in range(40)]
    assert np.mean([verdict.since_epoch == 0 for verdict in began if verdict.state == "flat"]) > 0.6


def test_a_curve_that_turned_is_falling_since_its_best():
    values = 0.8 - ((EPOCHS - 100) / 300) ** 2
    verdict = judge_curve(list(EPOCHS), list(values))
    assert verdict.state == "falling"
    assert verdict.since_epoch == pytest.approx(100, abs=5)  # to a look


def test_a_rise_too_small_to_matter_is_flat_however_certain():
    assert said(0.7 + 1e-5 * EPOCHS) == "flat"


@given(st.lists(st.floats(0, 1), max_size=MIN_LOOKS - 1))
def test_a_short_curve_is_too_early_to_judge(values):
    verdict = judge_curve(list(range(len(values))), values)
    assert str(verdict) == f"too early to say ({len(values)} of at least 8 looks)"


curves = st.lists(st.floats(0, 1), min_size=MIN_LOOKS, max_size=40)


@settings(deadline=None)
@given(curves, st.floats(0.1, 100))
def test_the_unit_of_time_does_not_matter(values, factor):
    x = np.arange(len(values), dtype=float)
    one, other = judge_curve(list(x), values), judge_curve(list(factor * x), values)
    assert one.noise == pytest.approx(other.noise, abs=1e-12)
    assert one.rise == pytest.approx(other.rise, abs=1e-9)


@settings(deadline=None)
@given(curves)
def test_noise_does_not_see_a_slope(values):
    x = np.arange(len(values), dtype=float)
    y = np.array(values)
    assert look_noise(x, y + 0.3 * x) == pytest.approx(look_noise(x, y), abs=1e-6)


@settings(deadline=None)
@given(curves)
def test_what_rises_falls_when_turned_upside_down(values):
    x = list(range(len(values)))
    up, down = judge_curve(x, values).state, judge_curve(x, [-value for value in values]).state
    assert down == {"still rising": "falling", "falling": "still rising"}.get(up, up)


@settings(deadline=None)
@given(curves)
def test_flat_began_at_a_look_before_the_last_third_ended(values):
    verdict = judge_curve(list(range(len(values))), values)
    if verdict.state == "flat":
        assert 0 <= verdict.since_epoch <= len(values) - 5


def test_noise_is_measured_with_uneven_looks_too():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.uniform(0.2, 3, 4000))
    assert look_noise(x, np.log1p(x) + 0.1 * rng.normal(size=4000)) == pytest.approx(0.1, rel=0.05)


def test_values_that_are_no_curve_are_refused():
    with pytest.raises(ValueError, match="epochs ascend"):
        judge_curve([0, 1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="2 epochs and 1 values"):
        judge_curve([0, 1], [0.1])


def look(epoch: float, task: str, metric: str, value: float | None) -> dict:
    return {"kind": "watch", "epoch": epoch, "task": task, "metric": metric, "value": value}


def test_a_task_is_judged_by_the_mean_of_its_scores_and_not_by_rank():
    # One score rises by 0.02 a look, the other falls as fast: their mean stands still.
    lines = [{"kind": "train", "epoch": 1, "loss": 0.3}]
    for at in range(10):
        lines += [
            look(at, "a", "knn_auroc", 0.5 + 0.02 * at), look(at, "a", "linear_auroc", 0.9 - 0.02 * at),
            look(at, "a", "feature_rank", 10.0 * at), look(at, "b", "knn_auroc", 0.5 + 0.02 * at),
        ]  # fmt: skip
    verdicts = judge_run(lines)
    assert {task: verdict["state"] for task, verdict in verdicts.items()} == {
        "a": "flat",
        "b": "still rising",
    }
    assert verdicts["b"]["rise"] == pytest.approx(0.08, abs=1e-5)  # the last five of ten looks
    assert verdicts["b"]["verdict"] == "still rising (+0.080 over the last third; chance gives up to 0.000)"


def test_a_look_without_all_scores_is_left_out():
    lines = [look(at, "a", name, 0.5) for at in range(9) for name in ("knn_auroc", "knn_macro_f1")]
    assert judge_run([*lines, look(9, "a", "knn_macro_f1", 0.0)])["a"]["num_looks"] == 9
    broken = [look(9, "a", "knn_macro_f1", float("nan")), look(9, "a", "knn_auroc", 0.5)]
    assert judge_run([*lines, *broken])["a"]["num_looks"] == 9
