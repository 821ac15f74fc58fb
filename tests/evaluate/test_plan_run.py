"""Plans that are run: on fakes, with networks so small that a cell takes a tenth of a second."""

import csv
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_plans import KNN, ONE_FOLD, plan, planned

from usfmae.base import logs
from usfmae.base.errors import FolderError, LeakError, SettingError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.contamination import PretrainingPool
from usfmae.evaluate.metrics import score
from usfmae.evaluate.plan import PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_findings import findings_record
from usfmae.evaluate.plan_gather import gather
from usfmae.evaluate.plan_scores import comparisons_of, entries_of
from usfmae.evaluate.report_plan import write_plan_page
from usfmae.evaluate.statistics import Interval
from usfmae.images.fingerprint import content_hash
from usfmae.models.vit import VisionTransformer, ViTConfig
from usfmae.models.weights import save_encoder


@pytest.fixture(scope="module")
def finished(fake_bus_bra, weights, tmp_path_factory):
    empty = PretrainingPool(frozenset(), np.zeros((0, 22, 22), np.uint8))
    run = planned(plan(weights), fake_bus_bra, tmp_path_factory.mktemp("plan") / "out", pool=empty)
    run.run()
    return run


@pytest.fixture(scope="module")
def findings(finished):
    return gather(finished)


def test_all_cells_are_there_and_a_second_run_makes_none_again(finished):
    results = sorted(finished.out.glob("cells/**/result.json"))
    assert len(results) == len(finished.cells) == 2 * 2 * 2 * 2
    before = {path: path.stat().st_mtime_ns for path in results}
    assert len(finished.run().done) == len(finished.cells)
    assert {path: path.stat().st_mtime_ns for path in results} == before


def test_a_number_is_the_mean_over_seeds_of_all_test_images_together(finished):
    entries = entries_of(finished.plan, finished.cells, finished.out)
    (entry,) = [e for e in entries if (e.encoder, e.way) == ("scratch", "knn")]
    by_seed = [score(p.labels, p.probabilities, positive=1)["macro_f1"] for p in entry.per_seed]
    assert entry.metrics["macro_f1"].value == pytest.approx(np.mean(by_seed))
    assert by_seed[0] != by_seed[1]
    assert entry.fold_scores("auroc").shape == (2, 2)
    assert entry.per_seed[0].paths == entry.per_seed[1].paths
    assert len(entry.per_seed[0]) == sum(r["num_images"] for r in entry.results) / 2


def test_differences_are_ours_less_theirs_and_corrected_together(finished):
    entries = entries_of(finished.plan, finished.cells, finished.out)
    by_key = {(e.encoder, e.way): e for e in entries}
    comparisons = comparisons_of(finished.plan, entries)
    assert len(comparisons) == 2 * 2
    for one in comparisons:
        ours, theirs = by_key["ours", one.way], by_key["scratch", one.way]
        expected = ours.metrics[one.metric].value - theirs.metrics[one.metric].value
        assert one.difference.value == pytest.approx(expected)
        assert one.difference.low <= one.difference.value <= one.difference.high
        assert one.adjusted_p >= one.p
    mine = sorted(one.p for one in comparisons if one.metric == "macro_f1")
    adjusted = sorted(one.adjusted_p for one in comparisons if one.metric == "macro_f1")
    assert adjusted[0] == pytest.approx(min(1, 2 * mine[0]))


def test_the_page_shows_what_ran_and_what_did_not(finished, findings, tmp_path):
    write_plan_page(tmp_path / "page.html", findings, title="Comparison")
    text = (tmp_path / "page.html").read_text()
    for words in ("ours", "scratch", "linear-probe", "Reproduction card", "t-SNE", "The worst errors"):
        assert words in text
    assert "F1 79.6 %" in text
    assert "not run: data needs" in text
    record = findings_record(findings)
    rows = {row["task"]: row for row in record["reproduction"]}
    assert rows["bus-bra"]["gap"] == pytest.approx(rows["bus-bra"]["ours"]["value"] - 0.816)
    assert rows["mmotu-2d"]["ours"] is None
    ours = [c for c in finished.cells if (c.encoder.name, c.way.name) == ("ours", "linear-probe")]
    assert rows["bus-bra"]["predictions_sha256"] == {
        f"{cell.split}, seed {cell.seed}": file_sha256(finished.out / cell.folder / "predictions.csv")
        for cell in ours
    }
    assert rows["bus-bra"]["protocol"]["image_px"] == ["16"]
    assert {setting for one in record["settings"] for setting in one["differing"]} == {
        "network.image_px", "network.patch_px", "network.size", "network.channels", "network.drop_path",
        "network.norm_eps",
    }  # fmt: skip
    by_key = {(one["encoder"], one["way"]): one["sd_over_seeds"] for one in record["entries"]}
    assert by_key["scratch", "knn"]["macro_f1"] > 0  # each seed starts elsewhere
    assert by_key["ours", "knn"]["macro_f1"] == 0  # the same weights, and all labels


def test_each_task_is_parted_by_what_its_set_says_of_its_images(finished, findings, tmp_path):
    assert {key[1] for key in findings.subgroups} == {"ours", "scratch"}
    for (_, encoder, way), divisions in findings.subgroups.items():
        assert way == "linear-probe"  # the way that learns most
        assert [one.column for one in divisions] == ["BIRADS", "outlined size"]
        (entry,) = [e for e in findings.entries if (e.encoder, e.way) == (encoder, way)]
        for one in divisions:
            assert sum(part.num_images for part in one.parts) == len(entry.per_seed[0])
        # The fake's patients turn through four BI-RADS and two classes, so each has one class only.
        assert [part.name for part in divisions[0].parts] == ["2", "3", "4", "5"]
        assert all("no image of 1 of 2 classes" in part.warning for part in divisions[0].parts)
        of_image = finished.columns("bus-bra")["outlined size"]
        for part in divisions[1].parts:
            rows = [k for k, path in enumerate(entry.mean.paths) if of_image[path] == part.name]
            alone = [score(p.labels[rows], p.probabilities[rows])["macro_f1"] for p in entry.per_seed]
            assert part.metrics["macro_f1"].value == pytest.approx(np.mean(alone))
    write_plan_page(tmp_path / "page.html", findings, title="Comparison")
    text = (tmp_path / "page.html").read_text()
    for words in ("By subgroup", "</small> 5", "of the picture", "Compare contenders within", "Known traps"):
        assert words in text
    record = findings_record(findings)["subgroups"]
    assert [one["encoder"] for one in record] == ["ours", "scratch"]
    assert record[0]["by"][0]["parts"][0]["metrics"]["auroc"]["why"].startswith("not defined")


def test_each_part_of_the_waiting_is_counted(finished, tmp_path, monkeypatch, caplog):
    # Where stderr is no terminal a bar writes lines, here at every count.
    monkeypatch.setattr(logs, "LINE_EVERY_S", -1.0)
    with caplog.at_level("INFO", logger="usfmae"):
        write_plan_page(tmp_path / "p.html", gather(finished), title="t")
    lines = [record.getMessage() for record in caplog.records]
    said = [words for words in lines if not words.startswith("read images")]  # unless a page has read them
    shown = [words.split(" ", 1)[0] for words in said]
    # 2 encoders x 2 ways; each way's rival in 2 metrics; each encoder's strongest way, and its features.
    assert shown == ["score"] * 4 + ["thresholds"] * 2 + ["compare"] * 4 + ["lay"] * 2 + ["draw"]
    assert said[3].startswith("score 4/4 bus-bra, scratch, linear-probe")
    assert said[-2].startswith("lay out features 2/2 bus-bra, scratch")


def test_few_labels_are_drawn_anew_by_each_seed(fake_bus_bra, weights, tmp_path):
    few = PlanWay(method="knn", label_ratio=0.5, settings=("k=3",))
    made = plan(weights, ways=(few,), tasks=ONE_FOLD)
    run = planned(made, fake_bus_bra, tmp_path / "out")
    run.run()
    hashes = {
        cell.seed: read_json(run.out / cell.folder / "result.json")["split"]
        for cell in run.cells
        if cell.encoder.name == "ours"
    }
    assert hashes[0]["sha256"] != hashes[1]["sha256"]
    assert hashes[0]["num_test"] == hashes[1]["num_test"]


def test_a_test_image_in_the_pool_stops_the_plan_before_anything_is_made(fake_bus_bra, weights, tmp_path):
    first = planned(plan(weights), fake_bus_bra, tmp_path / "clean")
    task = first.task_of(first.config_of(first.cells[0]))(first.plan.tasks[0])
    seen = content_hash(task.images[task.splits[0].test[0]])
    pool = PretrainingPool(frozenset({seen}), np.zeros((0, 22, 22), np.uint8))
    run = planned(plan(weights), fake_bus_bra, tmp_path / "out", pool=pool)
    with pytest.raises(LeakError, match=r"ours has seen 1 of \d+ test images of bus-bra fold-2"):
        run.run()
    assert not list((tmp_path / "out").glob("cells/**/result.json"))

    made = plan(weights, allow_contamination=True, tasks=ONE_FOLD, ways=(KNN,), seeds=(0,))
    told = planned(made, fake_bus_bra, tmp_path / "told", pool=pool)
    told.run()
    findings = gather(told)
    assert any("its numbers there are no evidence" in words for words in findings.contaminated)


def test_a_patient_on_two_sides_stops_the_plan(weights, tmp_path):
    root = tmp_path / "folder"
    root.mkdir()
    rows = ["path,label,patient,split"]
    for number in range(24):
        noise = np.random.default_rng(number).integers(0, 255, (24, 24), np.uint8)
        cv2.imwrite(str(root / f"{number}.png"), noise)
        side = ("train", "val", "test")[number % 3]
        rows.append(f"{number}.png,{'ab'[number // 3 % 2]},p{number // 2},{side}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(LeakError):
        planned(plan(weights, tasks=(PlanTask(name="folder"),)), root, tmp_path / "out")


def test_a_threshold_chosen_on_a_test_image_stops_the_page(fake_bus_bra, weights, tmp_path):
    made = plan(weights, tasks=ONE_FOLD, ways=(PlanWay(method="linear-probe"),), seeds=(0,))
    run = planned(made, fake_bus_bra, tmp_path / "out")
    run.run()
    cell = next(c for c in run.cells if c.encoder.name == "ours")
    folder = run.out / cell.folder
    (folder / "validation_predictions.csv").write_text((folder / "predictions.csv").read_text())
    with pytest.raises(LeakError, match="was chosen on"):
        gather(run)


def test_the_page_begins_with_what_stands_after_correction_and_counts_the_rest(findings, tmp_path):
    kinds = [one for one in findings.comparisons if one.metric == "macro_f1"]
    assert len(kinds) == 2
    sure, unsure = Interval(0.2, 0.1, 0.3), Interval(0.2, -0.1, 0.3)
    for p_values, interval, listed, counted in (
        ((0.01, 0.6), sure, 1, "1 further difference"),
        ((0.2, 0.6), sure, 0, "2 difference"),
        ((0.01, 0.01), unsure, 0, "2 difference"),  # of other seeds
    ):
        pairs = zip(kinds, p_values, strict=True)
        changed = tuple(replace(one, adjusted_p=p, difference=interval) for one, p in pairs)
        write_plan_page(tmp_path / "page.html", replace(findings, comparisons=changed), title="t")
        top = (tmp_path / "page.html").read_text().split("<h2>In short</h2>")[1].split("</section>")[0]
        assert (top.count("<li><b>ours</b> is"), counted in top) == (listed, True)


def test_no_temperature_is_fitted_where_a_true_class_had_no_chance(fake_bus_bra, weights, tmp_path):
    made = plan(weights, ways=(PlanWay(method="linear-probe"),), seeds=(0,))
    run = planned(made, fake_bus_bra, tmp_path / "out")
    run.run()
    key = ("bus-bra", "ours", "linear-probe")
    cells = [c for c in run.cells if c.encoder.name == "ours"]
    fitted = gather(run).decisions[key]
    assert len(fitted.temperatures) == len(cells) == 2
    assert fitted.error_after is not None
    path = run.out / cells[0].folder / "validation_predictions.csv"
    head, first, *rest = path.read_text().splitlines()
    *facts, label, _, _ = first.split(",")
    sure_and_wrong = ["0", "1"] if label == "benign" else ["1", "0"]
    path.write_text("\n".join([head, ",".join([*facts, label, *sure_and_wrong]), *rest]) + "\n")
    found = gather(run)
    unfitted = found.decisions[key]
    assert (unfitted.temperatures, unfitted.error_after) == ((), None)
    assert unfitted.error_before == fitted.error_before
    write_plan_page(tmp_path / "page.html", found, title="Comparison")
    assert "not fitted" in (tmp_path / "page.html").read_text()


def test_weights_that_are_not_there_are_named_before_anything_runs(fake_bus_bra, weights, tmp_path):
    made = plan(tmp_path / "{split}.safetensors")
    with pytest.raises(SettingError, match=r"2 of the plan's weights are not there \(first: .*fold-2"):
        planned(made, fake_bus_bra, tmp_path / "out")


def test_a_mistyped_setting_is_told_before_anything_runs(fake_bus_bra, weights, tmp_path):
    ways = (PlanWay(method="knn"), PlanWay(method="linear-probe", settings=("balance=true",)))
    with pytest.raises(SettingError, match="balance: no such setting"):
        planned(plan(weights, ways=ways), fake_bus_bra, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("contender", "message"),
    [
        ({"encoder": "usfm"}, "theirs, knn on bus-bra: usfm comes from its published file"),
        ({"weights": "imagenet"}, "theirs, knn on bus-bra: no ImageNet weights of a ViT"),
        ({"encoder": "resnet-50", "like": "HERE"}, "theirs, .*: --like gives the shape of a ViT"),
        ({"weights": "HERE", "settings": ("image_px=20",)}, "theirs, .*: .*image_px=20 is not a multiple"),
        ({"like": "HERE", "settings": ("image_px=20",)}, "theirs, .*: .*image_px=20 is not a multiple"),
        (
            {"encoder": "usfm", "weights": "HERE", "settings": ("use=commercial",)},
            "theirs, .*: usfm: the licence of its weights forbids commercial use",
        ),
    ],
)
def test_an_encoder_that_no_cell_could_use_is_named_before_anything_runs(
    fake_bus_bra, weights, tmp_path, contender, message
):
    given = {name: str(weights) if value == "HERE" else value for name, value in contender.items()}
    contenders = (PlanEncoder(name="ours", weights=str(weights)), PlanEncoder(name="theirs", **given))
    with pytest.raises(SettingError, match=message):
        planned(plan(weights, encoders=contenders), fake_bus_bra, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_that_does_not_fit_the_weights_of_one_seed_fails_alone(fake_bus_bra, weights, tmp_path):
    shutil.copy(weights, tmp_path / "0.safetensors")
    other = VisionTransformer(ViTConfig(size="ti", image_px=24, patch_px=12))
    save_encoder(tmp_path / "1.safetensors", other, input_spec=InputSpec(image_px=24))
    contenders = (
        PlanEncoder(name="ours", weights=str(tmp_path / "{seed}.safetensors"), settings=("image_px=16",)),
        PlanEncoder(name="scratch"),
    )
    made = plan(weights, encoders=contenders, ways=(KNN,), tasks=ONE_FOLD)
    run = planned(made, fake_bus_bra, tmp_path / "out")
    state = run.run()
    assert {(cell.encoder.name, cell.seed) for cell in state.failed} == {("ours", 1)}
    assert "image_px=16 is not a multiple of patch_px=12" in next(iter(state.failed.values()))
    assert len(state.done) == len(run.cells) - 1 == 3


def test_a_finished_cell_of_another_budget_is_not_taken_for_this_one(fake_bus_bra, weights, tmp_path):
    small = {"tasks": ONE_FOLD, "seeds": (0,)}
    planned(plan(weights, ways=(KNN,), **small), fake_bus_bra, tmp_path / "out").run()
    other = plan(weights, ways=(PlanWay(method="knn", settings=("k=7",)),), **small)
    with pytest.raises(FolderError, match=r"other settings or inputs \(k 5 -> 7"):
        planned(other, fake_bus_bra, tmp_path / "out", resume=True).run()


def test_a_plan_may_grow(fake_bus_bra, weights, tmp_path):
    small = {"tasks": ONE_FOLD, "ways": (KNN,)}
    planned(plan(weights, seeds=(0,), **small), fake_bus_bra, tmp_path / "out").run()
    grown = planned(plan(weights, seeds=(0, 1), **small), fake_bus_bra, tmp_path / "out", resume=True)
    assert len(grown.run().done) == 4


def test_weights_of_another_network_fail_alone(fake_bus_bra, weights, tmp_path):
    contenders = (
        PlanEncoder(name="ours", weights=str(weights)),
        PlanEncoder(name="wrong", encoder="resnet-50", weights=str(weights)),
    )
    run = planned(plan(weights, encoders=contenders, ways=(KNN,), seeds=(0,)), fake_bus_bra, tmp_path / "out")
    state = run.run()
    assert len(state.done) == 2
    assert {cell.encoder.name for cell in state.failed} == {"wrong"}
    assert "is no resnet-50" in next(iter(state.failed.values()))
    folder = run.out / next(iter(state.failed)).folder
    assert "is no resnet-50" in read_json(folder.with_name("seed-0.failed.json"))["reason"]
    again = planned(run.plan, fake_bus_bra, tmp_path / "out", resume=True).run()
    assert len(again.done) == len(again.failed) == 2


def test_splits_one_of_whose_names_begins_with_the_others_are_told_apart(fake_bus_bra, weights, tmp_path):
    root = tmp_path / "bus-bra"
    shutil.copytree(fake_bus_bra, root)
    with (root / "bus_data.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    device, patient = head.index("Device"), head.index("Case")
    places = {case: place for place, case in enumerate(dict.fromkeys(row[patient] for row in rows))}
    for row in rows:
        row[device] = ("GE Logiq", "GE Logiq E9")[places[row[patient]] // 2 % 2]
    with (root / "bus_data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    by_device = PlanTask(name="bus-bra", settings=("task.leave_out=device",))
    ways = (PlanWay(method="knn", label_ratio=0.5, settings=("k=3",)),)
    run = planned(plan(weights, tasks=(by_device,), ways=ways, seeds=(0,)), root, tmp_path / "out")
    assert {cell.split for cell in run.cells} == {"device-ge-logiq", "device-ge-logiq-e9"}
    run.run()
    # A threshold for each of the two splits, which few labels give another name in predictions.
    found = gather(run).decisions["bus-bra", "ours", "knn 50%"]
    assert len(found.thresholds) == 2
