import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.evaluate.told_apart import told_apart

CONFIG = BootstrapConfig(num_resamples=500)


def interval(familiar, strange, familiar_groups=None, strange_groups=None):
    return told_apart(
        np.array(familiar, dtype=float),
        np.array(strange, dtype=float),
        familiar_groups=familiar_groups or [str(one) for one in range(len(familiar))],
        strange_groups=strange_groups or [str(one) for one in range(len(strange))],
        config=CONFIG,
    )


def test_by_hand():
    # Of the four pairs strange wins two, loses one and draws one: 2.5 / 4.
    assert interval([1, 3], [3, 2]).value == pytest.approx(0.625)
    apart = interval([1, 2, 3] * 9, [4, np.inf] * 9)
    assert (apart.value, apart.low, apart.high) == (1.0, 1.0, 1.0)
    assert interval([4, 5], [1, 2]).value == 0.0


def test_it_is_the_auroc_of_scikit_learn_and_the_unit_does_not_matter():
    rng = np.random.default_rng(0)
    familiar, strange = rng.normal(size=60).round(1), rng.normal(1, 1, size=40).round(1)
    found = interval(familiar, strange)
    assert found.value == pytest.approx(roc_auc_score([0] * 60 + [1] * 40, np.r_[familiar, strange]))
    assert found.low < found.value < found.high
    assert interval(np.exp(familiar), np.exp(strange)) == found


def test_copies_of_a_picture_of_a_patient_make_nothing_surer():
    rng = np.random.default_rng(1)
    familiar, strange = rng.normal(size=20), rng.normal(1, 1, size=20)
    names = [str(one) for one in range(20)]
    once = interval(familiar, strange, names, names)
    copied = interval(np.tile(familiar, 5), np.tile(strange, 5), names * 5, names * 5)
    assert (copied.low, copied.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_equal_names_on_both_sides_are_two_groups():
    rng = np.random.default_rng(2)
    familiar, strange = rng.normal(size=9), rng.normal(1, 1, size=9)
    shared, others = list("aaabbbccc"), list("xxxyyyzzz")
    assert interval(familiar, strange, shared, shared) == interval(familiar, strange, shared, others)


def test_an_empty_side_and_not_a_number_are_refused():
    with pytest.raises(ValueError, match="1 familiar and 0 strange"):
        interval([1], [])
    with pytest.raises(ValueError, match="need a score each"):
        interval([1], [np.nan])
