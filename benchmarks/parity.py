"""Does our masked autoencoder compute what Hugging Face's ViTMAE computes?

Needs the extra `baselines`. Compares loss and every gradient in fp32 on the same weights, images and hidden
patches, and writes tests/golden/mae.json, which the test suite reads without needing transformers.

Run:  python benchmarks/parity.py
"""

import json
import sys
from pathlib import Path

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from usfmae.models.layouts import to_our_names
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding
from usfmae.models.vit import ViTConfig

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
import mae_inputs as given  # noqa: E402


def build(channels: int, normalised: bool) -> tuple[ViTMAEForPreTraining, MaskedAutoencoder]:
    """The two networks with the same weights."""
    ours = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=given.IMAGE_PX, patch_px=given.PATCH_PX, channels=channels),
            decoder=DecoderConfig(
                dim=given.DECODER_DIM, num_layers=given.DECODER_LAYERS, num_heads=given.DECODER_HEADS
            ),
            normalised_pixels=normalised,
        )
    )
    theirs = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
            layer_norm_eps=1e-6, image_size=given.IMAGE_PX, patch_size=given.PATCH_PX, num_channels=channels,
            decoder_hidden_size=given.DECODER_DIM, decoder_num_hidden_layers=given.DECODER_LAYERS,
            decoder_num_attention_heads=given.DECODER_HEADS, decoder_intermediate_size=4 * given.DECODER_DIM,
            norm_pix_loss=normalised,
        )
    )  # fmt: skip
    ours.load_state_dict({**given.fill(ours.state_dict())})
    copy_to_theirs(ours, theirs)
    return theirs, ours


def copy_to_theirs(ours: MaskedAutoencoder, theirs: ViTMAEForPreTraining) -> None:
    """Write our weights into their tensors, through the translation that `weights.py` uses."""
    state = {name: torch.full_like(tensor, float("nan")) for name, tensor in theirs.state_dict().items()}
    for name in state:
        wanted = our_name(name)
        source = our_state(ours)[wanted.replace("query", "qkv").replace("key", "qkv").replace("value", "qkv")]
        third = {"query": 0, "key": 1, "value": 2}
        for word, index in third.items():
            if f".{word}." in wanted:
                source = source.chunk(3)[index]
        state[name] = source.clone()
    theirs.load_state_dict(state)


def our_state(ours: MaskedAutoencoder) -> dict[str, torch.Tensor]:
    return {name.removeprefix("encoder."): tensor for name, tensor in ours.state_dict().items()}


def our_name(name: str) -> str:
    """Our name of one of their tensors; query, key and value keep their own word in place of qkv."""
    for word, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        if f".{theirs}." in name:
            probe = {name.replace(theirs, t): torch.zeros(1) for t in ("q_proj", "k_proj", "v_proj")}
            return next(iter(translate(probe))).replace("qkv", word)
    return next(iter(translate({name: torch.zeros(1)})))


def translate(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    marker = "vit.embeddings.patch_embeddings.projection.weight"
    tensors, dropped = to_our_names({marker: torch.zeros(1), **state})
    assert not dropped, dropped
    return {name: t for name, t in tensors.items() if name != "patch_embed.proj.weight" or marker in state}


def gradients(theirs: ViTMAEForPreTraining) -> dict[str, torch.Tensor]:
    """Their gradients under our names."""
    state = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    tensors, dropped = to_our_names(state)
    assert not dropped, dropped
    return tensors


def main() -> None:
    torch.set_num_threads(2)
    golden, table = {}, []
    order = given.noise().argsort(dim=1)
    visible = order[:, : -given.NUM_HIDDEN].sort(dim=1).values
    hiding = Hiding(visible, order[:, -given.NUM_HIDDEN :].sort(dim=1).values)
    for case, (channels, normalised) in given.CASES.items():
        theirs, ours = build(channels, normalised)
        images = given.images(channels)
        expected = theirs(pixel_values=images, noise=given.noise()).loss
        expected.backward()
        loss = ours(images, hiding).loss
        loss.backward()
        reference = gradients(theirs)
        mine = {n.removeprefix("encoder."): p.grad for n, p in ours.named_parameters() if p.grad is not None}
        assert set(mine) == set(reference), set(mine) ^ set(reference)
        worst = max(((mine[n] - g).norm() / g.norm()).item() for n, g in reference.items())
        golden[case] = {
            "loss": expected.item(),
            "gradients": {name: given.fingerprint(name, g) for name, g in sorted(reference.items())},
        }
        table.append((case, expected.item(), abs(loss.item() / expected.item() - 1), worst))
    print(f"{'case':18} {'HF loss':>10} {'loss differs by':>16} {'worst gradient':>16}")
    for case, value, difference, worst in table:
        print(f"{case:18} {value:10.6f} {difference:16.1e} {worst:16.1e}")
    (GOLDEN / "mae.json").write_text(json.dumps(golden, indent=1) + "\n")
    figures = {case: {"loss_relative": d, "gradient_relative": w} for case, _, d, w in table}
    print(json.dumps({"benchmark": "parity", "against": "transformers ViTMAEForPreTraining", **figures}))


if __name__ == "__main__":
    main()
