"""Do our published encoders compute what Hugging Face's networks of the same kind compute?

Needs the extra `baselines`. Small networks of each kind get the same weights, written into a file with
published names and read by `load_published`; outputs are compared in fp32. Names, shapes and outputs go into
tests/golden/published.json, which the test suite reads without needing transformers.

Run:  python benchmarks/parity_published.py
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    BeitConfig,
    BeitModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SamVisionConfig,
    SamVisionModel,
)

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
    clip = CLIPVisionConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256, image_size=56,
        patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    dino = {
        "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14,
    }  # fmt: skip
    registers = Dinov2WithRegistersConfig(**dino, num_register_tokens=3, use_swiglu_ffn=True)
    beit = BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, image_size=64,
        use_shared_relative_position_bias=True, use_mean_pooling=False, use_mask_token=True,
        layer_norm_eps=1e-6, attn_implementation="eager",
    )  # fmt: skip
    return {
        "sam": Case("sam", 80, SamVisionModel(sam), sam_tokens),
        "clip": Case("fetalclip", 56, CLIPVisionModel(clip), clip_tokens, clip_published),
        "dinov2": Case("dinov2", 56, Dinov2Model(Dinov2Config(**dino)), dinov2_tokens),
        "dinov2-reg-swiglu": Case("dinov2", 56, Dinov2WithRegistersModel(registers), registers_tokens),
        "usfm": Case("usfm", 64, BeitModel(beit), dinov2_tokens, usfm_published),
        "dinov2-resampled": Case("dinov2", 42, Dinov2Model(Dinov2Config(**dino)), dinov2_tokens),
        "dinov2-reg-resampled": Case("dinov2", 42, Dinov2WithRegistersModel(registers), registers_tokens),
    }


def dinov2_tokens(theirs: nn.Module, images: Tensor) -> Tensor:
    return theirs(images).last_hidden_state  # type: ignore[no-any-return]


def registers_tokens(theirs: nn.Module, images: Tensor) -> Tensor:
    tokens = theirs(images).last_hidden_state
    return torch.cat([tokens[:, :1], tokens[:, 4:]], dim=1)


def clip_tokens(theirs: nn.Module, images: Tensor) -> Tensor:
    """Theirs norms the class token alone, open_clip all tokens."""
    tower = getattr(theirs, "vision_model", theirs)
    norm: nn.Module = tower.post_layernorm  # type: ignore[assignment]
    return norm(theirs(images).last_hidden_state)  # type: ignore[no-any-return]


def usfm_published(name: str) -> str:
    """BEiT's own name, which USFM's file has."""
    for theirs, published in (
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.", ""),
        (r"^shared_position_bias\.", "rel_pos_bias."),
        (r"^layers\.", "blocks."),
        (r"\.lambda_([12])$", r".gamma_\1"),
        (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
        (r"\.attention\.([qkv])_proj\.weight$", r".attn.qkv.weight#\1"),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"^layernorm\.", "norm."),
    ):
        name = re.sub(theirs, published, name)
    return name


def clip_published(name: str) -> str:
    """open_clip's name; query, key and value are one tensor there, so they keep their own word here."""
    for theirs, published in (
        (r"^vision_model\.", ""),
        (r"^embeddings\.class_embedding$", "class_embedding"),
        (r"^embeddings\.patch_embedding\.", "conv1."),
        (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
        (r"^pre_layrnorm\.|^pre_layernorm\.", "ln_pre."),
        (r"^post_layernorm\.", "ln_post."),
        (r"^(encoder\.)?layers\.", "transformer.resblocks."),
        (r"\.layer_norm([12])\.", r".ln_\1."),
        (r"\.self_attn\.([qkv])_proj\.(\w+)$", r".attn.in_proj_\2#\1"),
        (r"\.self_attn\.(out_proj|o_proj)\.", ".attn.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    ):
        name = re.sub(theirs, published, name)
    return "visual." + name


def sam_tokens(theirs: nn.Module, images: Tensor) -> Tensor:
    places = theirs(images).last_hidden_state.flatten(2).transpose(1, 2)
    return torch.cat([places.mean(1, keepdim=True), places], dim=1)


THIRDS = {"q": 0, "k": 1, "v": 2}


def published_shapes(case: Case, state: dict[str, Tensor]) -> dict[str, list[int]]:
    """Names and shapes of the published file; "name#q", "#k" and "#v" are thirds of "name"."""
    shapes = {}
    for key, value in state.items():
        name, _, third = case.published(key).partition("#")
        shapes[name] = [(3 if third else 1) * value.shape[0], *value.shape[1:]] if value.ndim else []
    return shapes


def part_of(file: dict[str, Tensor], name: str) -> Tensor:
    """A tensor of the published file, or a third of one."""
    whole, _, third = name.partition("#")
    return file[whole].chunk(3)[THIRDS[third]] if third else file[whole]


def main() -> None:
    torch.set_num_threads(1)
    golden, worst = {}, {}
    print(f"{'case':18} {'largest difference':>20} {'of outputs of size':>20}")
    for name, case in cases().items():
        theirs = case.theirs.eval()
        state = theirs.state_dict()
        shapes = published_shapes(case, state)
        file = given.filled(shapes)
        theirs.load_state_dict(
            {key: part_of(file, case.published(key)).reshape(state[key].shape) for key in state}
        )
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
