"""Names under which others have published their tensors, translated into ours (timm's).

Each function takes a state dict as it lies in a file and gives the encoder's tensors under our names, and
what of the file is no encoder, with the reason. A name that it does not know stays as it is, so that the
strict check finds it left over.
"""

import re
from collections.abc import Mapping, Sequence

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
