"""The examples of docs/understanding.md run as they stand there, one after the other."""

import re
import shutil
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs/understanding.md"


def test_the_examples_run_and_return_what_the_page_says(fake_bus_bra, weights, kept, tmp_path, monkeypatch):
    for name, source in (("data/bus-bra", fake_bus_bra), ("results/mine", kept)):
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "runs/mine").mkdir(parents=True)
    shutil.copy(weights, tmp_path / "runs/mine/weights.safetensors")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    left: dict[str, object] = {}
    for block in blocks:
        exec(block, left)

    num_tested, num_patients = len(left["tested"]), len(left["together"])
    assert left["maps"].shape == left["lesions"].shape == (num_tested, 256, 256)
    assert (left["lesions"] & ~left["shown"]).sum() == 0
    assert left["scores"]["hit"].low <= left["scores"]["hit"].value <= left["scores"]["hit"].high
    assert left["detector"].is_novel(left["strange"]).shape == (20,)
    assert 0 <= left["apart"].value <= 1
    assert [len(case) for case in left["cases"]] == [5] * num_tested
    assert len({near.group for near in left["cases"][0]}) == 5
    np.testing.assert_allclose(left["answers"][1].sum(axis=1), 1)
    assert left["gain"]["auroc"].value is not None
    assert left["per_patient"].shape == (num_patients, 2)
    np.testing.assert_allclose([each.sum() for each in left["weights"]], 1, rtol=1e-5)
