import copy

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from usfmae.evaluate import live
from usfmae.evaluate.live import encode_sides
from usfmae.evaluate.live_knn import LiveKnn
from usfmae.evaluate.live_probe import LiveProbe, judge_linearly
from usfmae.models.weights import load_encoder

SCORES = ["knn_macro_f1", "knn_auroc", "linear_macro_f1", "linear_auroc"]


@pytest.fixture(scope="module")
def loaded(weights):
    return load_encoder(weights)


def test_one_look_gives_neighbours_linear_probe_and_rank(task, loaded):
    lines = LiveProbe(task)(loaded.encoder, loaded.input_spec)
    assert [line["metric"] for line in lines] == [*SCORES, "feature_rank"]
    for line in lines[:4]:
        assert line["task"] == "bus-bra"
        assert 0 <= line["low"] <= line["value"] <= line["high"] <= 1
    assert 1 <= lines[4]["value"] <= 48


def test_its_neighbours_are_those_of_live_knn(task, loaded):
    assert LiveProbe(task)(loaded.encoder, loaded.input_spec)[:2] == LiveKnn(task)(
        loaded.encoder, loaded.input_spec
    )


def test_the_encoder_runs_once_per_look(task, loaded, monkeypatch):
    calls = []

    def counted(*args, **settings):
        calls.append(len(args[1]))
        return encode(*args, **settings)

    encode = live.encode_images
    monkeypatch.setattr(live, "encode_images", counted)
    LiveProbe(task)(loaded.encoder, loaded.input_spec)
    split = task.splits[0]
    assert calls == [len(split.train) + len(split.val)]


def test_the_linear_probe_is_balanced_logistic_regression_fitted_to_training_images_alone(task):
    # Noisy features of one image in eight of the second class: without balance, or with a penalty chosen on
    # the validation images, the answers are others.
    rng = np.random.default_rng(0)
    labels = (np.arange(160) % 8 == 0).astype(np.int64)
    train = (rng.normal(size=(160, 6)) + labels[:, None]).astype(np.float32)
    val_labels = (np.arange(90) % 3 == 0).astype(np.int64)
    val = (rng.normal(size=(90, 6)) + val_labels[:, None]).astype(np.float32)
    drawn = live.Sides(task, train, labels, val, val_labels, np.arange(90))
    values = {}
    for name, c, weight in (("ours", 0.1, "balanced"), ("plain", 0.1, None), ("weak", 10.0, "balanced")):
        scaler = StandardScaler().fit(train.astype(float))
        model = LogisticRegression(C=c, max_iter=5000, class_weight=weight)
        model.fit(scaler.transform(train.astype(float)), labels)
        shown = scaler.transform(val.astype(float))
        values[name] = (
            f1_score(val_labels, model.predict(shown), average="macro"),
            roc_auc_score(val_labels, model.predict_proba(shown)[:, 1]),
        )
    assert values["ours"][0] != values["plain"][0]
    assert values["ours"][1] != values["weak"][1]
    found = [line["value"] for line in judge_linearly(drawn)]
    assert found == pytest.approx(values["ours"])


def test_no_patient_is_on_both_sides_and_no_test_image_is_seen(task, loaded):
    split = task.splits[0]
    groups = {side: {task.items[i].group for i in getattr(split, side)} for side in ("train", "val")}
    assert not groups["train"] & groups["val"]
    before = LiveProbe(task)(loaded.encoder, loaded.input_spec)
    kept = task.images[split.test].copy(), task.labels[split.test].copy()
    task.images[split.test], task.labels[split.test] = 255, 1 - task.labels[split.test]
    after = LiveProbe(task)(loaded.encoder, loaded.input_spec)
    task.images[split.test], task.labels[split.test] = kept
    assert after == before


def test_a_metric_that_is_not_defined_has_no_line(task, loaded):
    sides = encode_sides(task, loaded.encoder, loaded.input_spec)
    one_class = np.flatnonzero(sides.val_labels == 0)
    alone = live.Sides(
        task, sides.train, sides.train_labels, sides.val[one_class], sides.val_labels[one_class],
        sides.val_groups[one_class],
    )  # fmt: skip
    assert "linear_auroc" not in [line["metric"] for line in judge_linearly(alone)]


def test_an_encoder_that_broke_is_not_scored_and_does_not_end_the_run(task, loaded, caplog):
    broken = copy.deepcopy(loaded.encoder)
    broken.cls_token.data[:] = float("nan")
    assert LiveProbe(task)(broken, loaded.input_spec) == []
    assert "bus-bra is not scored" in caplog.text
