import pytest

from usfmae.base.errors import FolderError, SettingError
from usfmae.base.files import write_json
from usfmae.engine.schedule import make_schedule
from usfmae.recipes.registry import get_recipe, recipe_names, recipe_notes

NAMES = [
    "best_small_pool", "sparse_cnn_cpu", "tiny_cpu", "usfmae_paper", "vit_b16_1gpu", "vit_b16_8gpu",
    "vit_s16_1gpu", "vit_s16_cpu", "vit_ti16_cpu",
]  # fmt: skip


def test_the_named_runs_are_there():
    assert recipe_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_command_cost_and_expectation(name):
    notes = recipe_notes(name)
    assert f"usfmae pretrain {name} --corpus" in notes
    assert "Cost: " in notes
    assert "Expect: " in notes
    assert get_recipe(name).epochs > 0


def test_the_paper_recipe_has_the_papers_numbers():
    # Notebook: base rate 3e-4 times 128/256 at a batch of 64, floor 1e-5, 100 epochs with 10 % warm-up.
    config = get_recipe("usfmae_paper")
    schedule = make_schedule(
        config.optim, global_batch=config.global_batch, steps_per_epoch=100, total_steps=10_000
    )
    assert schedule.peak == pytest.approx(1.5e-4)
    assert schedule.floor == pytest.approx(1e-5)
    assert schedule.warmup_steps == 1000
    assert not config.model.normalised_pixels
    assert config.augment.rotate_deg == (0, 90)


def test_a_mistyped_recipe_names_the_nearest():
    with pytest.raises(SettingError, match="vit_ti_cpu: no such recipe") as caught:
        get_recipe("vit_ti_cpu")
    assert caught.value.hint == "did you mean vit_ti16_cpu?"


def test_a_recipe_is_meant_by_its_name_though_a_run_has_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = get_recipe("tiny_cpu").model_copy(update={"seed": 7})
    record = {"made_by": {"settings": other.model_dump(mode="json"), "inputs": {}}}
    write_json(tmp_path / "tiny_cpu" / "run.json", record)
    assert get_recipe("tiny_cpu").seed == 0
    assert get_recipe("./tiny_cpu").seed == 7
    (tmp_path / "tiny_cpu" / "run.json").write_text("{}")
    with pytest.raises(FolderError, match="is not the record of a run"):
        get_recipe("./tiny_cpu")
