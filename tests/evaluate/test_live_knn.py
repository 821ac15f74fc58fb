from usfmae.evaluate.live_knn import LiveKnn
from usfmae.models.weights import load_encoder


def test_the_live_curve_has_values_and_intervals(task, weights):
    loaded = load_encoder(weights)
    lines = LiveKnn(task)(loaded.encoder, loaded.input_spec)
    assert [line["metric"] for line in lines] == ["knn_macro_f1", "knn_auroc"]
    for line in lines:
        assert line["task"] == "bus-bra"
        assert 0 <= line["low"] <= line["value"] <= line["high"] <= 1


def test_the_live_curve_never_sees_a_test_image(task, weights):
    loaded = load_encoder(weights)
    before = LiveKnn(task)(loaded.encoder, loaded.input_spec)
    kept = task.images[task.splits[0].test].copy()
    task.images[task.splits[0].test] = 255
    after = LiveKnn(task)(loaded.encoder, loaded.input_spec)
    task.images[task.splits[0].test] = kept
    assert after == before
