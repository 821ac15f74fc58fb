"""`usfmae weights`: names, and what is said of each."""

import json

import pytest
from small_card import finished_run
from small_shelf import put_on_shelf

from usfmae.cli.main import main
from usfmae.evaluate.card_files import write_card


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("USFMAE_PRETRAINED", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def test_each_name_has_a_line_with_network_images_start_and_licence(shelf, tmp_path, capsys):
    run = finished_run(tmp_path)
    for name in ("usfmae_s16", "usfmae_cnn"):
        write_card(run, name=name, out=shelf)
    capsys.readouterr()
    assert main(["weights"]) == 0
    said = (
        "ViT-Ti/8, 5.4 M parameters, learnt on 30 pictures; ultrasound only, from a random start; every "
        "licence of its images allows commercial use, sharing and derivatives"
    )
    assert capsys.readouterr().out.splitlines() == [
        f"usfmae_cnn: {said}",
        f"usfmae_s16 (taken where none is named): {said}",
    ]
    assert main(["weights", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["default"]) for one in facts] == [("usfmae_cnn", False), ("usfmae_s16", True)]
    assert facts[1]["card"] == json.loads((shelf / "usfmae_s16.json").read_text())


def test_what_is_damaged_is_said_and_the_rest_is_listed(shelf, tmp_path, capsys):
    write_card(finished_run(tmp_path), name="usfmae_s16", out=shelf)
    put_on_shelf(shelf, "broken").write_bytes(b"cut")
    capsys.readouterr()
    assert main(["weights"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("broken: cannot be used: ")
    assert "damaged or another file than its card describes" in first
    assert second.startswith("usfmae_s16 (taken where none is named): ViT-Ti/8")


def test_where_nothing_ships_it_says_what_to_do(shelf, capsys):
    assert main(["weights"]) == 0
    assert f"{shelf} is no folder: give a run folder or a file with --weights" in capsys.readouterr().out
    shelf.mkdir()
    assert main(["weights"]) == 0
    assert f"{shelf} holds no weights: give a run folder or a file with --weights" in capsys.readouterr().out
    assert main(["weights", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
