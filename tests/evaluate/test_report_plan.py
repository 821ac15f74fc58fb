"""The page of a comparison, from entries made by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small_entries import RIGHT, difference, entry, findings, plan, with_errors

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.plan import PlanTask
from usfmae.evaluate.plan_decisions import Decisions
from usfmae.evaluate.plan_findings import findings_record
from usfmae.evaluate.report_plan import write_plan_page
from usfmae.evaluate.report_plan_decisions import exact_rates
from usfmae.evaluate.reproduction import plan_sha256
from usfmae.evaluate.statistics import Interval


@pytest.fixture
def page(tmp_path):
    def drawn(found):
        write_plan_page(tmp_path / "page.html", found, title="t")
        return (tmp_path / "page.html").read_text()

    return drawn


def top_of(text):
    return text.split("<h2>In short</h2>")[1].split("</section>")[0]


def pair(num_seeds, *, is_few=False, way="knn"):
    mine = [RIGHT] * num_seeds
    other = [with_errors(2), with_errors(3), with_errors(2)][:num_seeds]
    return [
        entry(*mine, is_few=is_few, way=way),
        entry(*other, is_few=is_few, way=way, encoder="theirs"),
    ]


def test_one_draw_of_few_labels_puts_nobody_ahead(page):
    few = difference(way="knn 10%", p=0.001)
    text = page(findings(pair(1, is_few=True, way="knn 10%"), [few]))
    assert "is ahead of" not in text
    assert "1 difference in Macro-F1 rests on one seed and few labels (knn 10%)" in top_of(text)
    assert "In knn 10% it is one draw of labels too, so nobody is called ahead there" in text
    text = page(findings(pair(3, is_few=True, way="knn 10%"), [few]))
    assert "is ahead of" in top_of(text)
    assert "one draw" not in text


def test_one_seed_of_all_labels_may_be_ahead_and_says_that_it_is_one(page):
    text = page(findings(pair(1), [difference()]))
    assert "(p 0.010). But: one seed only." in top_of(text)
    assert "One seed only in knn: what another would change is not known.</li>" in text


def test_what_splits_and_seeds_say_against_a_difference_stands_beside_it_and_on_top(page):
    one = difference(splits=(-0.1, 0.5))
    text = page(findings(pair(3), [one]))
    words = "not so over 2 splits: [−0.100, +0.500]"
    assert f"But: {words}." in top_of(text)
    assert f'<small class="doubt">{words}</small>' in text
    assert "But:" not in top_of(page(findings(pair(3), [difference(splits=(0.05, 0.5))])))


def test_each_number_has_its_spread_over_seeds_and_the_corrected_interval(page):
    found = findings(pair(3))
    text = page(found)
    record = findings_record(found)["entries"][1]
    spread, over = record["sd_over_seeds"], record["over_folds"]["macro_f1"]
    assert set(spread) == set(METRICS)
    # 2, 3 and 2 of 8 told wrongly: accuracies .75, .625 and .75 lie .0722 around their mean.
    assert spread["accuracy"] == pytest.approx(0.0722, abs=1e-4)
    assert f"sd over 3 seeds {spread['macro_f1']:.3f}" in text
    assert f"over 2 splits {over['value']:.3f} [{over['low']:.3f}, {over['high']:.3f}]" in text
    assert "one seed</small>" not in text
    assert "one seed</small>" in page(findings(pair(1)))


def test_label_efficiency_is_drawn_for_each_tested_metric(page):
    both = [*pair(2), *(replace(one, num_learnt=5) for one in pair(2, is_few=True, way="knn 10%"))]
    text = page(findings(both))
    for metric in ("Macro-F1", "AUROC"):
        assert f"<h3>Label efficiency, knn, {metric}</h3>" in text
    assert "Label efficiency" not in page(findings(pair(2)))


def test_families_of_p_values_are_one_for_each_metric_and_are_counted(page):
    three = [difference(), difference(p=0.2), difference(metric="auroc")]
    found = findings(pair(3), three)
    text = page(found)
    assert "p is Holm's, over the 2 comparisons in Macro-F1 of this page. The 1 in AUROC" in top_of(text)
    assert "each metric a family of its own (2 in Macro-F1 and 1 in AUROC)" in text
    assert "(p of 0.05 or more, corrected over the 2 of this page, or an interval that" in top_of(text)
    counts = [one["num_corrected_together"] for one in findings_record(found)["comparisons"]]
    assert counts == [2, 2, 1]


def test_near_duplicates_have_a_table_where_a_split_parts_some(page):
    def told(value):
        return {name: {"value": value} for name in METRICS}

    leaky = entry(
        RIGHT, metrics=told(0.9), metrics_without_near_duplicates=told(0.812), num_near_duplicates=1
    )
    text = page(findings([leaky]))
    assert "2 of 8 test images have one on the training side" in text
    assert "<b>0.812</b> <small>with them 0.900</small>" in text
    assert findings_record(findings([leaky]))["entries"][0]["without_near_duplicates"]["num_left_out"] == 2
    assert "Without near-duplicates" not in page(findings([entry(RIGHT)]))


def test_settings_in_which_contenders_differ_are_in_a_table_and_the_others_in_a_line(page):
    theirs = entry(RIGHT, encoder="theirs", settings={"optim": {"lr_per_256": 0.008}})
    tasks = (PlanTask(name="bus-bra", settings=("task.size_px=256",)),)
    found = findings([entry(RIGHT), theirs], plan=plan(tasks=tasks))
    made = page(found).split("<h2>What was done</h2>")[1]
    assert "the method's defaults</td>" not in made
    assert "<code>optim.lr_per_256</code></th><td>0.0016</td><td>0.008</td>" in made
    assert "<b>knn on bus-bra</b>, the same for all: <code>image_px</code> 128" in made
    assert "bus-bra only: task.size_px=256" in made
    assert "Code: c1 (4 cells)." in made
    (record,) = findings_record(found)["settings"]
    assert record["differing"] == {"optim.lr_per_256": {"ours": "0.0016", "theirs": "0.008"}}
    theirs.results[0]["made_by"]["settings"]["optim"]["lr_per_256"] = 0.01
    assert '<ul class="missing"><li>theirs, knn on bus-bra: optim.lr_per_256 is not the same' in page(found)


def test_the_card_shows_how_ours_was_made_and_by_which_hashes_it_is_found_again(page):
    card = page(findings([entry(RIGHT)])).split("<h2>Reproduction card</h2>")[1]
    row = card.split("<tr>")[2]
    for words in ("ours, knn", "splits a, b, parted by patient", "image side 128 px", "seeds 0, code c1"):
        assert words in row
    assert "weights <code>scratch</code>" in row
    assert f"plan <code>{plan_sha256(plan())[:12]}</code>" in row
    assert f"splits <code>{'a' * 12}, {'b' * 12}</code>" in row
    assert re.search(r"predictions <code>[0-9a-f]{12}</code>", row)
    assert "nothing trained through it" in row
    assert "not run in this plan: usfmae evaluate segment" in card


def test_an_epoch_count_is_on_the_card_where_there_was_training(page):
    tuned = entry(RIGHT, way="finetune", epochs=3.0, settings={"batch": 16})
    assert "3 epochs, batch 16<br>" in page(findings([tuned]))


def test_rates_of_0_and_1_have_the_exact_bounds_of_the_patients_that_they_are_a_share_of():
    # At .5 all four of each class are told; at .85 two positives are missed.
    one = entry(RIGHT, RIGHT)
    sure = {name: Interval(1.0, 1.0, 1.0) for name in ("sensitivity", "specificity", "ppv", "npv")}
    found = Decisions(
        said=np.zeros(1), found=np.zeros(1), error_before=0.0, error_after=None, brier=Interval(0, 0, 0),
        temperatures=(), rates=sure, thresholds=(0.5, 0.5, 0.85, 0.85),
    )  # fmt: skip
    rates = exact_rates(one, found, 0.95)
    # 0.025 ** (1 / n): n = 4 is .398; the second seed calls only two positive, n = 2 is .158.
    assert [rates[name].low for name in ("sensitivity", "specificity", "ppv", "npv")] == pytest.approx(
        [0.3976, 0.3976, 0.1581, 0.3976], abs=1e-4
    )
    assert all(rate.high == 1 for rate in rates.values())
    plain = {**sure, "npv": Interval(0.8, 0.5, 0.9)}
    assert exact_rates(one, replace(found, rates=plain), 0.95)["npv"] == plain["npv"]
    assert exact_rates(one, replace(found, rates={}), 0.95) == {}
