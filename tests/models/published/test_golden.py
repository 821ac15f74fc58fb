"""Files with published names give the outputs that Hugging Face's networks give."""

import json
import sys
from pathlib import Path

import pytest
import torch

from usfmae.models.published_weights import load_published

FOLDER = Path(__file__).parent.parent.parent / "golden"
sys.path.insert(0, str(FOLDER))
import published_inputs as given  # noqa: E402

GOLDEN = json.loads((FOLDER / "published.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_tokens_agree_with_the_reference(case, tmp_path):
    # tests/golden/published.json was computed with transformers by benchmarks/parity_published.py.
    golden = GOLDEN[case]
    torch.save(given.filled(golden["shapes"]), tmp_path / "net.pth")
    loaded = load_published(tmp_path / "net.pth", golden["encoder"], image_px=golden["image_px"])
    with torch.no_grad():
        tokens = loaded.encoder(given.images(golden["image_px"]))
    assert list(tokens.shape) == golden["tokens"]
    assert given.fingerprint(case, tokens) == pytest.approx(golden["fingerprint"], rel=1e-5, abs=1e-4)
