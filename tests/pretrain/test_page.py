import json

from usfmae.engine.ema import EmaConfig
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.weights import load_encoder
from usfmae.pretrain.run import pretrain


def score(_encoder, _spec):
    return [{"task": "held", "metric": "knn_auroc", "value": 0.7, "low": 0.6, "high": 0.8}]


def test_the_page_is_drawn_at_every_look_from_lines_that_are_already_there(
    small_corpus, small_config, tmp_path
):
    drawn = []

    def draw(run):
        looks = [line["step"] for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "watch"]
        record = json.loads((run / "run.json").read_text())
        drawn.append((looks[-1], record["status"], record["verdicts"]["held"]["num_looks"]))

    out = tmp_path / "run"
    record = pretrain(small_config, small_corpus, out, evaluations=[score], write_page=draw)
    # 8 steps, a look every 2; the page comes after the first step, after each look, and at the end.
    assert [look for look, _, _ in drawn] == [0, 2, 4, 6, 8, 8]
    assert [status for _, status, _ in drawn] == ["running"] * 5 + ["finished"]
    assert [num for _, _, num in drawn] == [1, 2, 3, 4, 5, 5]
    assert record["verdicts"]["held"]["verdict"] == "too early to say (5 of at least 8 looks)"
    assert json.loads((out / "run.json").read_text()) == record


def test_a_page_that_cannot_be_drawn_does_not_end_the_run(small_corpus, small_config, tmp_path, caplog):
    def fail(_run):
        raise ZeroDivisionError("no ink")

    config = small_config.model_copy(update={"epochs": 1.0})
    record = pretrain(config, small_corpus, tmp_path / "run", write_page=fail)
    assert record["status"] == "finished"
    assert "could not be drawn (ZeroDivisionError: no ink)" in caplog.text


def test_a_page_changes_no_weight(small_corpus, small_config, tmp_path):
    small = small_config.model_copy(update={"epochs": 1.0})
    pretrain(small, small_corpus, tmp_path / "a", write_page=lambda run: None)
    pretrain(small, small_corpus, tmp_path / "b")
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (
        tmp_path / "b/weights.safetensors"
    ).read_bytes()


def test_utilisation_and_waiting_are_logged_and_change_no_weight(small_corpus, small_config, tmp_path):
    small = small_config.model_copy(update={"epochs": 1.0})
    without = small.model_copy(update={"watch": small.watch.model_copy(update={"utilisation": False})})
    pretrain(small, small_corpus, tmp_path / "a")
    pretrain(without, small_corpus, tmp_path / "b")
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    lines = [line for line in read_metrics(tmp_path / "a/metrics.jsonl") if line["kind"] == "train"]
    assert all(0 < line["mfu"] < 1 and 0 <= line["data_wait"] < 1 for line in lines)
    assert "mfu" not in read_metrics(tmp_path / "b/metrics.jsonl")[-1]


def test_an_average_of_the_encoder_lies_beside_the_weights_and_changes_none(
    small_corpus, small_config, tmp_path
):
    small = small_config.model_copy(update={"epochs": 1.0})
    averaged = small.model_copy(update={"ema": EmaConfig(decay=0.9)})
    pretrain(small, small_corpus, tmp_path / "a")
    pretrain(averaged, small_corpus, tmp_path / "b")
    plain, same, average = (
        load_encoder(tmp_path / name).encoder.state_dict() for name in ("a", "b", "b/weights_ema.safetensors")
    )
    assert all(plain[name].equal(same[name]) for name in plain)
    assert not any(plain[name].equal(average[name]) for name in plain if name != "pos_embed")
    assert plain["pos_embed"].equal(average["pos_embed"])
