import pytest
from small_entries import RIGHT, difference, entry, with_errors

from usfmae.evaluate.plan_spread import doubts_about, leaves_out_0, seed_spreads


def test_the_spread_over_seeds_is_that_of_all_test_images_together_by_hand():
    # 8, 6 and 4 of 8 images are told: accuracies 1, .75 and .5 lie .25 around their mean.
    spreads = seed_spreads(entry(RIGHT, with_errors(2), with_errors(4)))
    assert spreads["accuracy"] == pytest.approx(0.25)
    assert seed_spreads(entry(RIGHT, RIGHT))["accuracy"] == 0
    assert set(seed_spreads(entry(RIGHT)).values()) == {None}


def test_the_interval_over_seeds_is_students_on_the_difference_of_each_seed_by_hand():
    ours, theirs = entry(RIGHT, RIGHT, RIGHT), entry(RIGHT, with_errors(2), with_errors(4), encoder="theirs")
    found = doubts_about(difference(metric="accuracy"), ours, theirs)
    # Differences 0, .25 and .5: mean .25, sd .25; t of 2 degrees at .975 is 4.3027; half .6210.
    assert found.per_seed == pytest.approx({0: 0.0, 1: 0.25, 2: 0.5})
    assert found.spread == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((0.25 - 0.6210, 0.25 + 0.6210), abs=1e-4)
    assert found.words == ("not so over 3 seeds: [−0.371, +0.871]",)
    assert found.record()["doubts"] == list(found.words)


def test_seeds_that_agree_with_the_patients_are_no_doubt():
    ours, theirs = entry(RIGHT, RIGHT), entry(with_errors(2), with_errors(2), encoder="theirs")
    assert doubts_about(difference(metric="accuracy"), ours, theirs).words == ()
    # And where nothing is claimed, seeds that all agree claim nothing either.
    assert doubts_about(difference(metric="accuracy", low=-0.1), ours, theirs).words == ()


@pytest.mark.parametrize(
    ("low", "splits", "words"),
    [
        (0.1, (-0.1, 0.5), ("not so over 2 splits: [−0.100, +0.500]",)),
        (-0.1, (0.05, 0.35), ("but not 0 over 2 splits: [+0.050, +0.350]",)),
        (0.1, (0.05, 0.35), ()),
        (-0.1, (-0.1, 0.5), ()),
        (0.1, (None, None), ()),
        (None, (0.05, 0.35), ()),
    ],
)
def test_splits_are_a_doubt_where_they_disagree_with_the_patients_on_0(low, splits, words):
    ours, theirs = entry(RIGHT, RIGHT), entry(with_errors(2), with_errors(2), encoder="theirs")
    one = difference(metric="accuracy", low=low, splits=splits)
    assert doubts_about(one, ours, theirs).words == words


@pytest.mark.parametrize(
    ("is_few", "mine", "other", "one_draw", "words"),
    [
        (True, 1, 1, True, "one seed, so one draw of labels: another may turn it"),
        (True, 2, 1, True, "one seed, so one draw of labels: another may turn it"),
        (False, 1, 1, False, "one seed only"),
    ],
)
def test_one_seed_is_a_doubt_and_with_few_labels_one_draw(is_few, mine, other, one_draw, words):
    ours = entry(*[RIGHT] * mine, is_few=is_few)
    theirs = entry(*[with_errors(2)] * other, is_few=is_few, encoder="theirs")
    found = doubts_about(difference(), ours, theirs)
    assert (found.is_one_draw, found.words) == (one_draw, (words,))
    assert (found.spread, found.low) == (None, None)


def test_two_seeds_of_few_labels_are_not_one_draw():
    ours = entry(RIGHT, RIGHT, is_few=True)
    theirs = entry(with_errors(2), with_errors(2), is_few=True, encoder="theirs")
    assert not doubts_about(difference(), ours, theirs).is_one_draw


def test_a_bound_on_0_does_not_leave_it_out():
    assert leaves_out_0(0.0, 0.1) is False
    assert leaves_out_0(-0.2, -0.1) is True
    assert leaves_out_0(None, 0.1) is None
