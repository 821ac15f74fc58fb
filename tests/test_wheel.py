"""What a user installs: the wheel holds all that the source tree holds, and works without anything else."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from small_card import finished_run
from small_shelf import add_hashes

from usfmae.evaluate.card_files import write_card

ROOT = Path(__file__).parent.parent
MAX_WHEEL_BYTES = 80_000_000
README = "import usfmae; print(usfmae.load('usfmae_s16'))"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what a wheel is built from, with a small `usfmae_s16` where this tree ships none."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    shutil.copytree(ROOT / "src", tree / "src", ignore=ignored)
    shelf = tree / "src" / "usfmae" / "pretrained"
    if not (shelf / "usfmae_s16.safetensors").exists():
        write_card(finished_run(tmp_path_factory.mktemp("run")), name="usfmae_s16", out=shelf)
        add_hashes(shelf / "usfmae_s16.safetensors", ["0" * 64])
        shutil.rmtree(shelf / "pool")
    return tree


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    """Built by the backend that pyproject.toml names, as pip would ask it to; nothing is fetched."""
    out = tmp_path_factory.mktemp("wheel")
    backend = tomllib.loads((tree / "pyproject.toml").read_text())["build-system"]["build-backend"]
    asked = f"import {backend} as backend; backend.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", asked], cwd=tree, check=True, capture_output=True)
    (built,) = out.iterdir()
    return built


def test_all_files_of_the_package_are_in_the_wheel_and_it_is_small_enough(tree, wheel):
    source = tree / "src"
    wanted = {
        path.relative_to(source).as_posix() for path in (source / "usfmae").rglob("*") if path.is_file()
    }
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if name.startswith("usfmae/")}
        (entries,) = [name for name in opened.namelist() if name.endswith("dist-info/entry_points.txt")]
        commands = opened.read(entries).decode()
    assert held == wanted
    assert {
        f"usfmae/pretrained/usfmae_s16.{end}" for end in ("safetensors", "json", "md", "seen.npy")
    } <= held
    assert {"usfmae/base/page.html", "usfmae/py.typed", "usfmae/recipes/tiny_cpu.py"} <= held
    assert "usfmae = usfmae.cli.main:main" in commands
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_line_of_the_readme_works_from_the_wheel_alone(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "installed")
    clean = {name: value for name, value in os.environ.items() if name != "USFMAE_PRETRAINED"}
    done = subprocess.run(
        [sys.executable, "-c", f"{README}; print(usfmae.__file__)"],
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )
    first, *_, last = done.stdout.splitlines()
    assert first == "usfmae_s16"
    assert last == str(tmp_path / "installed" / "usfmae" / "__init__.py")
    assert done.stderr == ""
