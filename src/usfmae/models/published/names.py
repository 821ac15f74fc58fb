"""Names under which others have published their tensors, translated into ours (timm's).

Each function takes a state dict as it lies in a file and gives the encoder's tensors under our names, and
what of the file is no encoder, with the reason. A name that it does not know stays as it is, so that the
strict check finds it left over.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]
Renames = Sequence[tuple[str, str]]


def renamed(name: str, renames: Renames) -> str:
    """The name after each pattern, in order, has been replaced."""
    for theirs, ours in renames:
        name = re.sub(theirs, ours, name)
    return name


def parted(state: Mapping[str, Tensor], dropped: Mapping[str, str]) -> tuple[State, dict[str, str]]:
    """A state dict without what begins like a pattern of `dropped`, and why each such name is not used.

    Prefixes that training programs put before every name go first.
    """
    kept, left = {}, {}
    for name, value in state.items():
        bare = re.sub(r"^(module\.|_orig_mod\.)+", "", name)
        why = next((why for pattern, why in dropped.items() if re.match(pattern, bare)), None)
        if why is None:
            kept[bare] = value
        else:
            left[bare] = why
    return kept, left


_SAM_PREFIX = r"^(sam\.)?(image_encoder|vision_encoder|backbone)\."
_SAM_REST = "prompts and mask decoder, no part of the image encoder"
_SAM_NAMES = (
    (r"^layers\.", "blocks."),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^neck\.conv1\.", "neck.0."),
    (r"^neck\.layer_norm1\.", "neck.1."),
    (r"^neck\.conv2\.", "neck.2."),
    (r"^neck\.layer_norm2\.", "neck.3."),
    (r"^channel_reduction\.", "neck."),
    (r"\.(layer_norm|ln)([12])\.", r".norm\2."),
    (r"\.(mlp\.lin1|ffn\.layers\.0\.0)\.", ".mlp.fc1."),
    (r"\.(mlp\.lin2|ffn\.layers\.1)\.", ".mlp.fc2."),
)


def sam_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """SAM's image encoder as segment-anything (`image_encoder.`), Hugging Face (`vision_encoder.`) or mmdet
    with mmpretrain's ViTSAM (`backbone.`; UltraSam's checkpoint) name it, or without any prefix.

    Sources: segment_anything/modeling/image_encoder.py; transformers, models/sam/modeling_sam.py; mmpretrain,
    models/backbones/vit_sam.py.
    """
    whole, dropped = parted(state, {})
    inside = {name: value for name, value in whole.items() if re.match(_SAM_PREFIX, name)}
    if inside:
        dropped |= dict.fromkeys((name for name in whole if name not in inside), _SAM_REST)
    else:
        inside = whole
    return {
        renamed(re.sub(_SAM_PREFIX, "", name), _SAM_NAMES): value for name, value in inside.items()
    }, dropped


_CLIP_NAMES = (
    (r"^visual\.", ""),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_CLIP_REST = {
    r"(positional_embedding|text_projection|logit_scale|logit_bias|attn_mask)$": "text tower of CLIP",
    r"(transformer|token_embedding|ln_final|text)\.": "text tower of CLIP",
    r"visual\.proj$": "projection onto the space of texts",
}


def clip_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """The vision tower of open_clip's CLIP (`visual.`), as FetalCLIP is published.

    Source: open_clip, src/open_clip/transformer.py, VisionTransformer and ResidualAttentionBlock.
    """
    inside, dropped = parted(state, _CLIP_REST)
    tensors = {renamed(name, _CLIP_NAMES): value for name, value in inside.items()}
    for name, num_axes in (("cls_token", 1), ("pos_embed", 2)):
        if name in tensors and tensors[name].ndim == num_axes:
            tensors[name] = tensors[name].reshape(1, -1, tensors[name].shape[-1])
    return tensors, dropped


_DINO_NAMES = (
    (r"^(backbone|dinov2|dinov2_with_registers)\.", ""),
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks in chunks, as training saves them
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^(encoder\.)?layer\.", "blocks."),
    (r"\.attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.", r".attn.\1."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.w3."),
)
_DINO_REST = {
    r"(backbone\.)?(\w+\.)*mask_token$": "stands for hidden patches in pretraining",
    r"(dino_head|ibot_head)\.": "heads of pretraining",
    r"(linear_)?(head|classifier)\.": "classifier of another task",
}


def dinov2_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """DINOv2 as Facebook (released or in training, with blocks in chunks) and Hugging Face name it.

    Sources: dinov2/models/vision_transformer.py; transformers, models/dinov2 and dinov2_with_registers.
    """
    inside, dropped = parted(state, _DINO_REST)
    tensors = {renamed(name, _DINO_NAMES): value for name, value in inside.items()}
    for whole, parts in (
        ("attn.qkv", ("query", "key", "value")),
        ("attn.qkv", ("q_proj", "k_proj", "v_proj")),
        ("mlp.w12", ("gate_proj", "up_proj")),
    ):
        tensors = joined(tensors, whole, parts)
    return tensors, dropped


def joined(tensors: State, whole: str, parts: Sequence[str]) -> State:
    """With tensors that lie apart in a file (`blocks.0.attn.query.weight`) put together, where all are there.

    Args:
        tensors: by name.
        whole: the inner name of what they are together, such as "attn.qkv".
        parts: the last words of their names in place of that of `whole`, in order.
    """
    room, last = whole.split(".")
    together = dict(tensors)
    for name in tensors:
        found = re.match(rf"^(blocks\.\d+\.){room}\.{parts[0]}\.(weight|bias)$", name)
        names = [f"{found[1]}{room}.{part}.{found[2]}" for part in parts] if found else []
        if found and all(one in tensors for one in names):
            together[f"{found[1]}{room}.{last}.{found[2]}"] = torch.cat([together.pop(one) for one in names])
    return together


_USFM_REST = {
    r"mask_token$": "stands for hidden patches in pretraining",
    r"rel_pos_bias\.relative_position_index$": "follows from the grid",
    r"(head|lm_head|fc_norm)\.": "classifier of another task",
}


def usfm_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """USFM's pretrained encoder (USFM_latest.pth), which has BEiT's names.

    Keys have no bias there: a bias of the queries and one of the values become one with zeros between.

    Sources: openmedlab/USFM, usdsgen/modules/backbone/vision_transformer.py and utils/modelutils.py
    (remap_pretrained_keys_vit).
    """
    inside, dropped = parted(state, _USFM_REST)
    tensors = {re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name): value for name, value in inside.items()}
    for name in [name for name in tensors if name.endswith(".attn.q_bias")]:
        block = name.removesuffix("q_bias")
        if block + "v_bias" in tensors:
            q, v = tensors.pop(name), tensors.pop(block + "v_bias")
            tensors[block + "qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return tensors, dropped


def tinyusfm_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """TinyUSFM's student (`model.`), which has timm's names inside; what lies outside of it is dropped.

    Sources: MacDunno/TinyUSFM, utils/load_model_seg.py and model/tinyusfm_seg.py.
    """
    whole, dropped = parted(state, {})
    student = {name.removeprefix("model."): v for name, v in whole.items() if name.startswith("model.")}
    if student:
        beside = [name for name in whole if not name.startswith("model.")]
        dropped |= dict.fromkeys(beside, "of distillation, no part of the student")
    inside, left = parted(
        student or whole, {r"(head|head_dist|fc_norm|dist_norm)\.": "classifier of another task"}
    )
    return inside, dropped | left
