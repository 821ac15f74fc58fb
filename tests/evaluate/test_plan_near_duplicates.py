import pytest
from small_entries import RIGHT, entry

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.plan_near_duplicates import without_near_duplicates


def metrics(value):
    return {name: {"value": value} for name in METRICS}


def test_the_mean_without_near_duplicates_is_over_the_cells_and_beside_the_same_mean_with_them():
    one = entry(RIGHT, RIGHT)
    # Split a parts two near-duplicates, split b none: there all images count.
    for place, (plain, without) in enumerate(((0.9, 0.7), (0.5, None), (0.8, 0.4), (0.6, None))):
        one.results[place]["metrics"] = metrics(plain)
        if without is not None:
            one.results[place].update(
                {
                    "metrics_without_near_duplicates": metrics(without),
                    "num_near_duplicates": 2,
                }
            )
    found = without_near_duplicates(one)
    assert found.without["macro_f1"] == pytest.approx((0.7 + 0.5 + 0.4 + 0.6) / 4)
    assert found.all_images["macro_f1"] == pytest.approx((0.9 + 0.5 + 0.8 + 0.6) / 4)
    assert (found.num_left_out, found.num_images) == (2, 8)  # of one seed
    assert found.record()["metrics"]["auroc"] == pytest.approx(0.55)


def test_a_metric_that_is_undefined_somewhere_has_no_mean():
    one = entry(RIGHT, metrics=metrics(0.9), metrics_without_near_duplicates=metrics(None))
    assert without_near_duplicates(one).without["auroc"] is None
    assert without_near_duplicates(one).all_images["auroc"] == pytest.approx(0.9)


def test_where_no_split_parts_any_there_is_nothing_to_show():
    assert without_near_duplicates(entry(RIGHT)) is None
