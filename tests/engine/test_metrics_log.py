from usfmae.engine.metrics_log import MetricsLog, read_metrics


def write(run, steps, *, done=0):
    log = MetricsLog(run, step=done)
    for step in steps:
        log.write("train", step=step, loss=1 / step)
    log.close()


def test_lines_after_the_checkpoint_are_cut_on_resume(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [3, 4], done=2)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    write(tmp_path, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_live_score_is_a_line_of_its_own(tmp_path):
    log = MetricsLog(tmp_path)
    log.write("watch", step=5, task="bus-bra", metric="knn_auroc", value=0.7)
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["value"] == 0.7
    assert list((tmp_path / "tensorboard").iterdir())
