"""Going on: with which other settings, in a folder that another run holds, after a restart by torchrun."""

import json
import logging
import shutil

import pytest

from usfmae.base.config import flat, with_settings
from usfmae.base.errors import FolderError
from usfmae.base.files import alone_in
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.pretrain import run_folder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.resume import AT_FIRST, HARMLESS, ROUNDING, changed_settings
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.run_folder import load_run_config


@pytest.fixture(scope="module")
def finished(small_corpus, small_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    pretrain(small_config, small_corpus, out)
    return out


@pytest.fixture
def stopped(finished, tmp_path):
    """The finished run as it was at its checkpoint of step 6 of 8."""
    out = tmp_path / "stopped"
    shutil.copytree(finished, out)
    (out / "weights.safetensors").unlink()
    shutil.rmtree(find_checkpoints(out)[-1].path)
    assert find_checkpoints(out)[-1].step == 6
    change_record(out, lambda record: record.update(status="stopped"))
    return out


def change_record(out, change) -> None:
    record = json.loads((out / "run.json").read_text())
    change(record)
    (out / "run.json").write_text(json.dumps(record))


def same_weights(one, two) -> bool:
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def with_loop(config: PretrainConfig, **settings) -> PretrainConfig:
    return config.model_copy(update={"loop": config.loop.model_copy(update=settings)})


def test_settings_that_change_no_number_may_change_and_are_named(
    stopped, finished, small_config, small_corpus, caplog
):
    caplog.set_level(logging.INFO)
    changed = with_loop(
        small_config,
        checkpoint_steps=1,
        keep_checkpoints=1,
        async_checkpoints=False,
        log_steps=4,
        activation_checkpointing=True,
        on_bad_step="skip",
        max_bad_in_row=2,
    ).model_copy(
        update={
            "workers": 1,
            "watch": small_config.watch.model_copy(
                update={"every_epochs": 0.4, "num_pictures": 1, "utilisation": False, "spike_factor": None}
            ),
        }
    )
    assert set(changed_settings(small_config.model_dump(mode="json"), changed)) == HARMLESS - {
        "demand",
        "replay.corpus",
        "model.teacher.weights",
    }
    pretrain(changed, small_corpus, stopped, resume=True)
    assert same_weights(stopped, finished)
    assert "resumed with another loop.checkpoint_steps 3 -> 1\n" in caplog.text
    assert load_run_config(stopped) == changed.model_copy(update={"augment_on": "cpu"})


def test_settings_that_change_the_order_of_sums_may_change_and_say_so(
    stopped, small_config, small_corpus, caplog
):
    caplog.set_level(logging.INFO)
    pretrain(with_loop(small_config, accumulate=2), small_corpus, stopped, resume=True)
    assert "another loop.accumulate 1 -> 2, equal up to rounding" in caplog.text


def test_every_serious_difference_is_named_with_both_values(stopped, small_config, small_corpus):
    changed = with_loop(small_config, precision="bf16").model_copy(update={"seed": 7})
    with pytest.raises(FolderError, match=r"\(loop\.precision fp32 -> bf16; seed 0 -> 7\)"):
        pretrain(changed, small_corpus, stopped, resume=True)


def test_a_run_from_before_a_setting_existed_counts_as_having_its_default(
    stopped, finished, small_config, small_corpus
):
    def forget(record) -> None:
        del record["made_by"]["settings"]["loop"]["parallel"], record["ranks"]

    change_record(stopped, forget)
    pretrain(small_config, small_corpus, stopped, resume=True)
    assert same_weights(stopped, finished)


VARIED = [
    ("model.hiding.kind=sector", "model.hiding.kind random -> sector"),
    ("model.hiding.block=1", "model.hiding.block 2 -> 1"),
    ("model.loss_in=sector", "model.loss_in everywhere -> sector"),
    ("model.context=clip", "model.context none -> clip"),
    ("model.agreement.kind=image", "model.agreement.kind none -> image"),
    ("model.decoder.kind=cross", "model.decoder.kind self -> cross"),
    ("model.decoder.predict_ratio=0.5", "model.decoder.predict_ratio 1.0 -> 0.5"),
    ("model.teacher.weight=2", "model.teacher.weight 1.0 -> 2.0"),
    ("resolution.start_px=16", "resolution.start_px None -> 16"),
    ("resolution.start_ratio=0.25", "resolution.start_ratio 0.5 -> 0.25"),
    ("augment.gamma=[0.8, 1.25]", r"augment.gamma \[1.0, 1.0\] -> \[0.8, 1.25\]"),
    ("augment_on=device", "augment_on cpu -> device"),
]


@pytest.mark.parametrize(("word", "named"), VARIED)
def test_what_a_run_hides_predicts_and_sees_may_not_change(stopped, small_config, small_corpus, word, named):
    with pytest.raises(FolderError, match=rf"\({named}\)"):
        pretrain(with_settings(small_config, [word]), small_corpus, stopped, resume=True)


def test_a_run_from_before_views_were_made_elsewhere_made_them_on_the_cpu(
    stopped, finished, small_config, small_corpus
):
    change_record(stopped, lambda record: record["made_by"]["settings"].pop("augment_on"))
    with pytest.raises(FolderError, match=r"\(augment_on cpu -> device\)"):
        pretrain(with_settings(small_config, ["augment_on=device"]), small_corpus, stopped, resume=True)
    pretrain(small_config, small_corpus, stopped, resume=True)
    assert same_weights(stopped, finished)


def test_the_lists_of_settings_name_existing_ones():
    assert set(flat(PretrainConfig().model_dump())) >= HARMLESS | ROUNDING | AT_FIRST.keys()


def test_two_runs_cannot_share_a_folder(stopped, small_config, small_corpus, monkeypatch):
    monkeypatch.setattr(run_folder, "LOCK_WAIT_S", 0.0)
    with alone_in(stopped, doing="run"):
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(FolderError, match="another run is writing there"):
                pretrain(small_config, small_corpus, stopped, **how)
    assert find_checkpoints(stopped)  # nothing was deleted
    pretrain(small_config, small_corpus, stopped, resume=True)


def restarted(monkeypatch, launch: str) -> None:
    """As torchrun starts a process again after one died."""
    said = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "x", "TORCHELASTIC_RESTART_COUNT": 1}
    for name, value in (said | {"TORCHELASTIC_RUN_ID": launch}).items():
        monkeypatch.setenv(name, str(value))


def test_a_run_that_torchrun_starts_again_goes_on_unasked(
    stopped, finished, small_config, small_corpus, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    change_record(stopped, lambda record: record.update(launch="seven"))
    restarted(monkeypatch, "seven")
    pretrain(small_config, small_corpus, stopped, overwrite=True)
    assert same_weights(stopped, finished)
    assert "going on at step 6 of 8" in caplog.text


def test_a_start_that_was_refused_is_refused_when_torchrun_tries_it_again(
    stopped, small_config, small_corpus, monkeypatch, tmp_path
):
    restarted(monkeypatch, "seven")
    before = sorted(stopped.rglob("*"))
    with pytest.raises(FolderError, match="exists already"):
        pretrain(small_config, small_corpus, stopped)  # a run of another launch
    assert sorted(stopped.rglob("*")) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FolderError, match="exists already"):
        pretrain(small_config, small_corpus, tmp_path / "mine")


def test_a_run_does_not_go_on_in_a_folder_of_somebody_else(small_config, small_corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    (tmp_path / ".partial-thing").write_text("x")
    with pytest.raises(FolderError, match=r"holds no run\.json to go on with, but thesis\.txt"):
        pretrain(small_config, small_corpus, tmp_path, resume=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_checkpoints_without_the_settings_they_were_made_with_are_not_gone_on_with(
    stopped, small_config, small_corpus
):
    (stopped / "run.json").unlink()
    other = with_settings(small_config, ["seed=4"])
    with pytest.raises(FolderError, match=r"holds no run\.json to go on with, but checkpoints"):
        pretrain(other, small_corpus, stopped, resume=True)


def test_a_run_is_not_written_into_or_over_what_it_reads(
    stopped, finished, small_config, small_corpus, tmp_path
):
    corpus = tmp_path / "runs" / "corpus"
    shutil.copytree(small_corpus, corpus)
    shutil.copy(stopped / "run.json", tmp_path / "runs")
    weights = stopped / "kept" / "weights.safetensors"
    weights.parent.mkdir()
    shutil.copy(finished / "weights.safetensors", weights)
    for out, read, given in (
        (corpus, "--corpus", {"resume": True}),
        (corpus / "below", "--corpus", {}),
        (tmp_path / "runs", "--corpus", {"overwrite": True}),
        (stopped, "--weights", {"overwrite": True, "weights": weights}),
    ):
        with pytest.raises(FolderError, match=f"--out {out}: lies in, or is, or holds {read} "):
            pretrain(small_config, corpus, out, **given)
    assert {path.name for path in corpus.iterdir()} == {path.name for path in small_corpus.iterdir()}
    assert find_checkpoints(stopped)


def test_nothing_to_go_on_with_is_said_and_a_run_begins(small_config, small_corpus, tmp_path, caplog):
    pretrain(with_settings(small_config, ["epochs=0.1"]), small_corpus, tmp_path / "new", resume=True)
    assert "new: there is no run to go on with, so a new one begins" in caplog.text


@pytest.mark.parametrize("content", ["{}", "[]", '{"made_by": {"settings": 3, "inputs": {}}}'])
def test_a_run_json_of_another_kind_is_refused(stopped, small_config, small_corpus, content):
    (stopped / "run.json").write_text(content)
    with pytest.raises(FolderError, match=r"run\.json: is not the record of a run") as caught:
        pretrain(small_config, small_corpus, stopped, resume=True)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(FolderError, match="is not the record of a run"):
        load_run_config(stopped)
