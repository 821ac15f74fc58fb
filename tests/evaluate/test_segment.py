import io
import json
import shutil
from contextlib import redirect_stdout

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from plug import plug_pulled
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_finetune import FOLDS, small_settings

from usfmae.base.errors import FolderError, SettingError, WeightsError
from usfmae.base.files import read_json
from usfmae.cli.main import main
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.optim import OptimConfig
from usfmae.evaluate import segment as module_under_test
from usfmae.evaluate.contamination import PretrainingPool
from usfmae.evaluate.segment import predicted_label_map, segment
from usfmae.evaluate.segment_config import SegmentConfig, scratch_segment_config
from usfmae.evaluate.segment_page import chosen_rows, overlay, write_segment_page
from usfmae.evaluate.segment_scores import pooled_scores, read_scores, segment_metrics
from usfmae.evaluate.segment_task import SegmentTaskConfig, load_segment_task
from usfmae.evaluate.segment_training import SegmentBatches, stored_probabilities
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.images.fingerprint import content_hash
from usfmae.models.segmenter_file import load_segmenter
from usfmae.models.vit import VisionTransformer, ViTConfig

TINY_COLOUR = ViTConfig(size="ti", image_px=16, patch_px=8, channels=3)


def tiny(task, **changes):
    return SegmentConfig(**small_settings(task, **changes))


@pytest.fixture(scope="module")
def drawn(fake_bus_bra):
    return load_segment_task("bus-bra", fake_bus_bra, config=SegmentTaskConfig(size_px=32, folds=(2, 3)))


@pytest.fixture(scope="module")
def undisturbed(drawn, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "undisturbed"
    segment(drawn, weights, out=out, config=tiny(drawn))
    return out


def outcome(out):
    """What must not depend on interruptions."""
    result = read_json(out / "result.json")
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    files = ("overlaps.csv", "truth.json", "detections.json")
    return (
        [(out / f"folds/{fold}/segmenter.safetensors").read_bytes() for fold in FOLDS],
        [(out / file).read_bytes() for file in files],
        result["metrics"],
        losses,
    )


def oracle(monkeypatch, change=lambda labels: labels):
    """Networks that say the (changed) truth with probability .9."""

    def said(_module, task, indices, **_options):
        for index in indices.tolist():
            labels = change(task.truth(index))
            num = len(task.structures) + 1
            found = np.full((num, *labels.shape), 0.1 / (num - 1), dtype=np.float32)
            for label in range(num):
                found[label][labels == label] = 0.9
            yield found

    monkeypatch.setattr(module_under_test, "stored_probabilities", said)


def values(result):
    return {name: metric["value"] for name, metric in result["metrics"].items()}


PERFECT = {"dice": 1.0, "iou": 1.0, "hd95": 0.0, "map": 1.0, "map50": 1.0, "box_map": 1.0}


def test_it_learns_to_outline_the_fake_lesions(fake_bus_bra, tmp_path):
    task = load_segment_task("bus-bra", fake_bus_bra, config=SegmentTaskConfig(size_px=32, folds=(2,)))
    config = tiny(
        task,
        network=ViTConfig(size="ti", image_px=32, patch_px=8),
        optim=OptimConfig(lr_per_256=0.3, warmup_epochs=1.0, betas=(0.9, 0.999)),
        epochs=20.0,
        drop_path=0.0,
        watch_epochs=10.0,
    )
    result = segment(task, "scratch", out=tmp_path / "r", config=config)
    losses = [line["loss"] for line in read_metrics(tmp_path / "r/metrics.jsonl") if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    assert result["metrics"]["dice"]["value"] > 0.5
    assert result["metrics"]["map50"]["value"] > 0.3


def test_the_result_has_the_form_of_all_results(undisturbed, drawn):
    result = read_json(undisturbed / "result.json")
    assert (result["method"], result["init"], result["epochs"]) == ("segment", "pretrained", 2.0)
    assert list(result["metrics"]) == ["dice", "iou", "hd95", "map", "map50", "box_map"]
    tested = {drawn.items[index].name for split in drawn.splits for index in split.test.tolist()}
    assert (result["num_images"], result["hd95_unit"]) == (len(tested), "px")
    assert result["num_patients"] == len({i.group for i in drawn.items if i.name in tested})
    assert result["contamination"]["checked"] is False
    for name, metric in result["metrics"].items():
        assert metric["low"] <= metric["value"] <= metric["high"], name
    assert [fold["split"] for fold in result["folds"]] == list(FOLDS)
    assert read_json(undisturbed / "run.json")["status"] == "finished"
    scores, _ = read_scores(undisturbed)
    assert set(scores.paths) == tested


def test_test_images_in_the_pool_are_counted_and_the_licence_is_said(drawn, weights, tmp_path, monkeypatch):
    oracle(monkeypatch)
    tested = [index for split in drawn.splits for index in split.test.tolist()]
    pool = PretrainingPool(
        frozenset({content_hash(drawn.images[tested[0]])}), np.zeros((0, 22, 22), np.uint8), "abc"
    )
    config = tiny(drawn, epochs=0.1)
    result = segment(drawn, weights, out=tmp_path / "r", config=config, pretraining_pool=pool)
    found = result["contamination"]
    assert (found["test_images_in_pool"], found["of"], found["corpus_sha256"]) == (1, len(tested), "abc")
    assert found["first"] == drawn.items[tested[0]].name
    assert result["licence"] is None


def test_weights_that_forbid_it_are_refused_for_sale_before_anything_is_written(drawn, tmp_path):
    mae = tmp_path / "mae_pretrain_vit_base.pth"
    torch.save({"model": VisionTransformer(TINY_COLOUR).state_dict()}, mae)
    with pytest.raises(SettingError, match=r"vit: the licence of its weights forbids commercial use"):
        segment(drawn, mae, out=tmp_path / "sold", config=tiny(drawn, use="commercial"))
    assert not (tmp_path / "sold").exists()


def test_validation_is_watched(undisturbed):
    watched = [line for line in read_metrics(undisturbed / "metrics.jsonl") if line["kind"] == "watch"]
    assert {line["metric"] for line in watched} == {"val_dice"}
    assert all(0 <= line["value"] <= 1 for line in watched)


def test_the_table_of_each_fold_gives_the_result(undisturbed):
    result = read_json(undisturbed / "result.json")
    scores = pooled_scores([read_scores(undisturbed / f"folds/{fold}")[0] for fold in FOLDS])
    metrics, _ = segment_metrics(scores, config=BootstrapConfig(num_resamples=100))
    assert {name: interval.record() for name, interval in metrics.items()} == result["metrics"]
    with pytest.raises(ValueError, match="images are tested in more than one fold"):
        pooled_scores([scores, scores])


def test_the_kept_network_says_what_the_label_maps_say(undisturbed, drawn):
    loaded = load_segmenter(undisturbed / "folds/fold-2/segmenter.safetensors")
    assert loaded.structures == ("lesion",)
    indices = drawn.splits[0].test
    said = stored_probabilities(loaded.network, drawn, indices, input_spec=loaded.input_spec)
    for index, probabilities in zip(indices.tolist(), said, strict=True):
        path = predicted_label_map(undisturbed, "fold-2", drawn.items[index].name)
        assert (np.array(Image.open(path)) == probabilities.argmax(axis=0)).mean() > 0.999
    assert not (undisturbed / "folds/fold-2/checkpoints").exists()


def test_pycocotools_reads_truth_and_detections_and_says_the_same(drawn, weights, tmp_path, monkeypatch):
    def spoilt(labels):
        return np.roll(labels, labels.sum() % 5, axis=0)

    oracle(monkeypatch, spoilt)
    result = segment(drawn, weights, out=tmp_path / "r", config=tiny(drawn, epochs=0.1))
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "r/truth.json"))
        found = truth.loadRes(str(tmp_path / "r/detections.json"))
        said = {}
        for kind in ("segm", "bbox"):
            evaluation = COCOeval(truth, found, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            said[kind] = evaluation.stats
    assert 0.05 < result["metrics"]["map"]["value"] < 1
    assert values(result)["map"] == pytest.approx(said["segm"][0], abs=1e-6)
    assert values(result)["map50"] == pytest.approx(said["segm"][1], abs=1e-6)
    assert values(result)["box_map"] == pytest.approx(said["bbox"][0], abs=1e-6)


@pytest.mark.parametrize("by_class", [False, True])
def test_a_perfect_prediction_has_a_perfect_result(fake_bus_bra, weights, tmp_path, monkeypatch, by_class):
    config = SegmentTaskConfig(size_px=32, folds=(2, 3), by_class=by_class)
    task = load_segment_task("bus-bra", fake_bus_bra, config=config)
    oracle(monkeypatch)
    result = segment(task, weights, out=tmp_path / "r", config=tiny(task, epochs=0.1))
    assert values(result) == pytest.approx(PERFECT)
    assert list(result["by_structure"]) == (["benign", "malignant"] if by_class else ["lesion"])


def test_nothing_predicted_has_no_dice(drawn, weights, tmp_path, monkeypatch):
    oracle(monkeypatch, np.zeros_like)
    result = segment(drawn, weights, out=tmp_path / "r", config=tiny(drawn, epochs=0.1))
    assert (values(result)["dice"], values(result)["map"]) == (0.0, 0.0)
    assert values(result)["hd95"] == pytest.approx(np.hypot(71, 95))


def test_flipping_images_and_label_maps_alike_leaves_the_scores(fake_bus_bra, weights, tmp_path, monkeypatch):
    mirrored = tmp_path / "mirrored"
    shutil.copytree(fake_bus_bra, mirrored)
    for path in [*mirrored.glob("Images/*.png"), *mirrored.glob("Masks/*.png")]:
        cv2.imwrite(str(path), cv2.flip(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 1))
    oracle(monkeypatch, lambda labels: np.roll(labels, 2, axis=0))
    found = []
    for name, root in (("as-is", fake_bus_bra), ("mirrored", mirrored)):
        task = load_segment_task("bus-bra", root, config=SegmentTaskConfig(size_px=32, folds=(2, 3)))
        found.append(segment(task, weights, out=tmp_path / f"r-{name}", config=tiny(task, epochs=0.1)))
    assert values(found[0]) == pytest.approx(values(found[1]), abs=1e-9)
    assert 0.3 < values(found[0])["dice"] < 1


@pytest.mark.parametrize("broken_batch", [3, 9])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    drawn, weights, undisturbed, tmp_path, broken_batch
):
    with plug_pulled(SegmentBatches, at=broken_batch):
        segment(drawn, weights, out=tmp_path / "r", config=tiny(drawn))
    assert not (tmp_path / "r/result.json").exists()
    segment(drawn, weights, out=tmp_path / "r", config=tiny(drawn), resume=True)
    assert outcome(tmp_path / "r") == outcome(undisturbed)


def test_a_finished_result_is_not_done_again_and_other_settings_are_refused(drawn, weights, undisturbed):
    again = segment(drawn, weights, out=undisturbed, config=tiny(drawn), resume=True)
    assert again == read_json(undisturbed / "result.json")
    with pytest.raises(FolderError, match=r"dice_weight 1.0 -> 0.0"):
        segment(drawn, weights, out=undisturbed, config=tiny(drawn, dice_weight=0.0), resume=True)


def test_a_damaged_table_is_named(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "r")
    (tmp_path / "r/overlaps.csv").write_text("path,group\nx,y\n")
    with pytest.raises(FolderError, match="holds no scores of a segmentation"):
        read_scores(tmp_path / "r")


def test_what_is_no_segmenter_is_refused(weights, tmp_path):
    with pytest.raises(WeightsError, match="is no segmenter of usfmae"):
        load_segmenter(weights)
    with pytest.raises(WeightsError, match="no such segmenter file"):
        load_segmenter(tmp_path / "nothing")


def test_a_random_start_learns_at_half_the_rate_in_all_layers():
    plain, scratch = SegmentConfig(), scratch_segment_config()
    assert scratch.optim.lr_per_256 == plain.optim.lr_per_256 / 2
    assert (scratch.optim.layer_decay, scratch.augment) == (1.0, plain.augment)


def test_the_page_shows_worst_middle_and_best_with_their_numbers(undisturbed, drawn):
    page = write_segment_page(undisturbed, drawn).read_text()
    for words in ("Segmentation, pretrained on bus-bra", "COCO mAP@50, masks", "Each fold", "fold-3",
                  "95 % Hausdorff distance (px)", "Worst", "In the middle", "Best", "as predicted",
                  "Validation Dice", "What was done"):  # fmt: skip
        assert words in page
    scores, _ = read_scores(undisturbed)
    worst = scores.paths[int(np.argmin(scores.overlaps[:, 0, 0]))]
    assert worst in page
    assert page.count("data:image/jpeg") == 12


def test_every_picture_is_shown_once_and_in_order():
    dice = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])
    assert chosen_rows(dice, 1) == {"Worst": [3], "In the middle": [0], "Best": [2]}
    few = chosen_rows(np.array([0.5, 0.2]), 4)
    assert few == {"Worst": [1, 0], "In the middle": [], "Best": []}
    rows = chosen_rows(np.linspace(0, 1, 101), 4)
    assert rows["In the middle"] == [48, 49, 50, 51]
    assert rows["Best"] == [100, 99, 98, 97]


def test_outlines_run_where_the_structures_end():
    truth, predicted = np.zeros((2, 44, 44), dtype=np.uint8)
    truth[10:20, 10:20], predicted[10:20, 30:40] = 1, 1
    drawn = overlay(np.zeros((44, 44), np.uint8), truth, predicted)
    assert drawn.shape == (440, 440, 3)
    green, orange = drawn[150, 100], drawn[150, 300]
    assert green[1] > 150 > green[0]
    assert orange[0] > 150 > orange[2]
    assert not drawn[150, 150].any()


def test_the_journey_through_the_command_line(fake_bus_bra, weights, tmp_path, capsys):
    out = tmp_path / "r"
    words = ["evaluate", "segment", "--task", "bus-bra", "--data", str(fake_bus_bra), "--out", str(out)]
    small = ["task.size_px=32", "task.folds=[2,3]", "epochs=1", "threads=1", "bootstrap.num_resamples=100"]
    knobs = [word for setting in small for word in ("--set", setting)]
    assert main([*words, "--weights", str(weights), *knobs]) == 0
    said = capsys.readouterr().out
    assert "bus-bra, segment, vit pretrained" in said
    assert "box_map" in said
    assert (out / "report.html").exists()
    assert main([*words, "--weights", str(weights), *knobs]) == 2  # the folder is taken
    assert main([*words, "--weights", "scratch", "--like", str(weights), "--overwrite", *knobs]) == 0
    assert json.loads((out / "result.json").read_text())["init"] == "scratch"


def test_a_set_without_label_maps_is_said_on_the_command_line(fake_bus_bra, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(fake_bus_bra, bare)
    shutil.rmtree(bare / "Masks")
    words = ["evaluate", "segment", "--task", "bus-bra", "--data", str(bare), "--weights", "scratch"]
    assert main([*words, "--out", str(tmp_path / "r")]) == 2
    assert "has a label map" in capsys.readouterr().err


def test_imagenet_weights_are_refused_with_what_can_be_given_instead(fake_bus_bra, tmp_path, capsys):
    words = ["evaluate", "segment", "--task", "bus-bra", "--data", str(fake_bus_bra), "--weights", "imagenet"]
    assert main([*words, "--out", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "segment takes ViTs" in said
    assert "--weights FILE" in said
    assert "--encoder" not in said
