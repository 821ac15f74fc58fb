"""Imports go only downward: the table of docs/map.md, checked."""

import ast
import importlib
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
import torch
from jaxtyping import TypeCheckError

from usfmae.evaluate.seen_images import read_seen
from usfmae.models.patches import patchify
from usfmae.models.shipped import MAX_SHIPPED_BYTES, card_of, shipped_file, shipped_names

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "usfmae"
MAX_LINES = 350

MAY_IMPORT = {
    "base": set(),
    "images": {"base"},
    "models": {"base"},
    "engine": {"base"},
    "datasets": {"base", "images"},
    "corpus": {"base", "images", "datasets"},
    "pretrain": {"base", "corpus", "models", "engine"},
    "evaluate": {"base", "images", "datasets", "models", "engine"},
    "deploy": {"base", "images", "models"},
    "recipes": {"base", "corpus", "models", "engine", "pretrain", "evaluate"},
    "cli": {
        "base", "images", "models", "engine", "datasets", "corpus", "pretrain", "evaluate", "deploy",
        "recipes",
    },
    "__main__.py": {"cli"},
}  # fmt: skip
NO_TORCH = {"base", "images"}
NOT_YET = {"deploy"}
"""Rooms of the table that nobody has furnished."""
MODULES = sorted(SOURCE.rglob("*.py"))


class Read(NamedTuple):
    """What the tests below ask of a module."""

    imports: list[str]
    relative: bool
    says_its_idea: bool
    bare: list[str]
    writes: list[str]


@cache
def read(path: Path) -> Read:
    """Parse a module, once for all tests."""
    tree = ast.parse(path.read_text())
    imports, relative, writes = [], False, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative |= node.level > 0
            imports.append(node.module or "")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"write_text", "write_bytes", "imwrite"}
        ):
            writes.append(f"{ast.unparse(node)[:80]} (line {node.lineno})")
    bare = [
        f"{node.name} (line {node.lineno})"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    return Read(imports, relative, bool(ast.get_docstring(tree)), bare, writes)


def imported(path: Path) -> list[str]:
    assert not read(path).relative, f"{path}: imports are written in full"
    return read(path).imports


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_floors_below(path):
    room = room_of(path)
    if room == "__init__.py":  # what the package offers by its own name; see the next test
        assert {name for name in imported(path) if name.startswith("usfmae")} == {"usfmae.evaluate.embedder"}
        return
    for name in imported(path):
        assert name != "usfmae", f"{path}: imports the package root"
        if name.startswith("usfmae."):
            other = name.split(".")[1]
            assert other == room or other in MAY_IMPORT[room], f"{path}: {room} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_rooms_of_pixels_do_without_torch(path):
    if room_of(path) in NO_TORCH:
        assert not [name for name in imported(path) if name.split(".")[0] in {"torch", "safetensors"}]


def test_the_package_itself_starts_without_torch_or_any_room():
    asked = "import sys, usfmae; print([n for n in sys.modules if n == 'torch' or n.startswith('usfmae.')])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shapes_in_signatures_are_checked_while_the_tests_run():
    with pytest.raises(TypeCheckError, match="images"):
        patchify(torch.zeros(2, 2), 2)


def test_every_room_is_in_the_table():
    rooms = {path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py")} - {"__init__.py"}
    assert rooms == set(MAY_IMPORT) - NOT_YET


def test_every_file_of_the_package_is_in_the_wheel():
    """Those without `.py` only where a pattern of package-data names them."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = setup["tool"]["setuptools"]["package-data"]["usfmae"]
    others = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert "base/page.html" in others
    left_out = [name for name in others if not any(PurePosixPath(name).match(p) for p in patterns)]
    assert left_out == []
    shipped = [f"pretrained/usfmae_s16.{end}" for end in ("safetensors", "json", "md", "html", "seen.npy")]
    assert all(any(PurePosixPath(name).match(p) for p in patterns) for name in shipped)


def test_the_weights_that_ship_fit_and_are_what_their_cards_say(monkeypatch):
    monkeypatch.delenv("USFMAE_PRETRAINED", raising=False)
    files = [shipped_file(name) for name in shipped_names()]  # compares each hash
    assert sum(path.stat().st_size for path in files) <= MAX_SHIPPED_BYTES
    assert all(path.with_suffix(".md").is_file() for path in files)
    assert all(read_seen(card_of(path)) is not None for path in files)


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_a_file_is_one_idea_and_not_longer_than_350_lines(folder):
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_public_function_and_class_says_what_it_is(path):
    assert read(path).bare == []
    assert read(path).says_its_idea, f"{path}: the file does not say its idea"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_base_files_writes(path):
    if path == SOURCE / "base" / "files.py":
        return
    assert read(path).writes == []


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_takes_of_the_package_is_there(path):
    """Benchmarks run for minutes and are in no other test; a name that moved would be noticed too late."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("usfmae"):
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {missing}"
