"""Do our published encoders compute what Hugging Face's networks of the same kind compute?

Needs the extra `baselines`. Small networks of each kind get the same weights, written into a file under published
names and read by `load_published`; outputs are compared in fp32. Names, shapes and outputs go into
tests/golden/published.json, which the test suite reads without needing transformers.

Run:  python benchmarks/parity_published.py
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SamVisionConfig, SamVisionModel

from usfmae.models.published_weights import load_published

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
import published_inputs as given  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One network of theirs."""

    encoder: str
    """Our name."""

    image_px: int
    theirs: nn.Module
    tokens: Callable[[nn.Module, Tensor], Tensor]
    """What ours should give: theirs, first the token of the whole image."""

    published: Callable[[str], str] = str
    """Their name of a tensor -> its name in the published file."""


def cases() -> dict[str, Case]:
    """The networks, small enough for a laptop and for a test."""
    sam = SamVisionConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_dim=128, image_size=80, window_size=3,
        global_attn_indexes=[1], output_channels=16,
    )  # fmt: skip
    return {"sam": Case("sam", 80, SamVisionModel(sam), sam_tokens)}


def sam_tokens(theirs: nn.Module, images: Tensor) -> Tensor:
    places = theirs(images).last_hidden_state.flatten(2).transpose(1, 2)
    return torch.cat([places.mean(1, keepdim=True), places], dim=1)


def main() -> None:
    torch.set_num_threads(1)
    golden, worst = {}, {}
    print(f"{'case':18} {'largest difference':>20} {'of outputs of size':>20}")
    for name, case in cases().items():
        theirs = case.theirs.eval()
        state = theirs.state_dict()
        shapes = {case.published(key): list(value.shape) for key, value in state.items()}
        file = given.filled(shapes)
        theirs.load_state_dict({key: file[case.published(key)] for key in state})
        images = given.images(case.image_px)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            torch.save(file, Path(folder) / "net.pth")
            ours = load_published(Path(folder) / "net.pth", case.encoder, image_px=case.image_px).encoder(
                images
            )  # type: ignore[arg-type]
            expected = case.tokens(theirs, images)
        worst[name] = ((ours - expected).abs().max() / expected.std()).item()
        golden[name] = {
            "encoder": case.encoder,
            "image_px": case.image_px,
            "shapes": shapes,
            "tokens": list(expected.shape),
            "fingerprint": given.fingerprint(name, expected),
        }
        print(f"{name:18} {(ours - expected).abs().max().item():20.1e} {expected.std().item():20.3f}")
    (GOLDEN / "published.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps({"benchmark": "parity_published", "against": "transformers", "relative": worst}))


if __name__ == "__main__":
    main()
