"""Names of the same tensors in the published layouts, translated into ours.

Ours are timm's for the encoder (`blocks.0.attn.qkv.weight`) and "decoder." plus the same inside for the
decoder. MAE's file has both flat (`decoder_blocks.0...`); Hugging Face splits query, key and value.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from usfmae.base.errors import WeightsError
from usfmae.models.vit import SIZES, ViTConfig, ViTSize

MAE_DECODER = "decoder."
"""Prefix of decoder tensors in our names."""

_MAE_DECODER_NAMES = {
    "decoder_embed.": "decoder.embed.",
    "decoder_pos_embed": "decoder.pos_embed",
    "decoder_blocks.": "decoder.blocks.",
    "decoder_norm.": "decoder.norm.",
    "decoder_pred.": "decoder.pred.",
    "mask_token": "decoder.mask_token",
}
_HF_BLOCK_NAMES = (
    (r"attention\.attention\.(query|key|value)\.", r"attn.\1."),
    (r"attention\.(q_proj|k_proj|v_proj)\.", r"attn.\1."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"attention\.o_proj\.", "attn.proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"^output\.dense\.", "mlp.fc2."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
)
_HF_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^decoder\.decoder_embed\.", "decoder.embed."),
    (r"^decoder\.decoder_pos_embed$", "decoder.pos_embed"),
    (r"^decoder\.mask_token$", "decoder.mask_token"),
    (r"^decoder\.decoder_norm\.", "decoder.norm."),
    (r"^decoder\.decoder_pred\.", "decoder.pred."),
)
_QKV = {"query": 0, "key": 1, "value": 2, "q_proj": 0, "k_proj": 1, "v_proj": 2}
_KNOWN = re.compile(
    r"^(cls_token|pos_embed|patch_embed\.proj\.(weight|bias)|norm\.(weight|bias)"
    r"|(decoder\.)?blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)"
    r"|decoder\.(mask_token|pos_embed|(embed|norm|pred)\.(weight|bias)))$"
)


def to_our_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Translate a state dict of any known layout.

    Returns:
        The tensors under our names, and the names (in the file) that no ViT or MAE of ours has, with why.
    """
    state = {name.removeprefix("module.").removeprefix("_orig_mod."): value for name, value in state.items()}
    is_hugging_face = any("embeddings.patch_embeddings.projection" in name for name in state)
    renamed = _from_hugging_face(state) if is_hugging_face else _from_mae(state)
    tensors, dropped = {}, {}
    for name, value in renamed.items():
        if _KNOWN.match(name):
            tensors[name] = value
        elif re.match(r"^(head|classifier|fc|fc_norm|head_dist|pooler)\.", name):
            dropped[name] = "classifier of another task"
        else:
            dropped[name] = "not part of a ViT or MAE"
    return tensors, dropped


def infer_vit(tensors: dict[str, Tensor], path: Path) -> ViTConfig:
    """The shape of the encoder that `tensors` belong to.

    Raises:
        WeightsError: no vision transformer, or of a size that has no name here.
    """
    try:
        dim = tensors["cls_token"].shape[-1]
        _, channels, patch_px, _ = tensors["patch_embed.proj.weight"].shape
        num_patches = tensors["pos_embed"].shape[1] - 1
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: holds no vision transformer (no {error.args[0]})") from error
    num_layers = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    sizes: dict[tuple[int, int], ViTSize] = {
        (width, layers): name  # type: ignore[misc]
        for name, (width, layers, _) in SIZES.items()
    }
    if (dim, num_layers) not in sizes:
        raise WeightsError(f"{path}: a ViT {dim} wide with {num_layers} layers is none of {', '.join(SIZES)}")
    side = math.isqrt(num_patches)
    if side**2 != num_patches:
        raise WeightsError(f"{path}: {num_patches} positions are no square grid")
    return ViTConfig(
        size=sizes[dim, num_layers], image_px=side * patch_px, patch_px=patch_px, channels=channels
    )


def _from_mae(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        for theirs, ours in _MAE_DECODER_NAMES.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
                break
        renamed[name] = value
    return renamed


def _from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, value in state.items():
        ours = _hugging_face_name(re.sub(r"^(vit|model|base_model)\.", "", name))
        third = re.match(r"^(.*attn\.)(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)$", ours)
        if third:
            thirds.setdefault(f"{third[1]}qkv.{third[3]}", {})[_QKV[third[2]]] = value
        else:
            renamed[ours] = value
    for name, parts in thirds.items():
        if len(parts) == 3:
            renamed[name] = torch.cat([parts[0], parts[1], parts[2]])
    return renamed


def _hugging_face_name(name: str) -> str:
    block = re.match(r"^(?:encoder\.layer|layers|(decoder)\.decoder_layers)\.(\d+)\.(.*)$", name)
    if block:
        inside = block[3]
        for theirs, ours in _HF_BLOCK_NAMES:
            inside = re.sub(theirs, ours, inside)
        return f"{'decoder.' if block[1] else ''}blocks.{block[2]}.{inside}"
    for theirs, ours in _HF_NAMES:
        name = re.sub(theirs, ours, name)
    return name
