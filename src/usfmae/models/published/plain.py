"""Plain vision transformers with the parts that published ones add: layer scale (Touvron et al. 2021, CaiT,
section 2), register tokens (Darcet et al. 2024, "Vision transformers need registers", section 3), a norm
before the blocks (Radford et al. 2021, CLIP, section 2.4), gated linear units (Oquab et al. 2024, DINOv2,
section 5)."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.attention import Attention
from usfmae.models.encoder import skip_whole_branch
from usfmae.models.positions import resize_positions
from usfmae.models.published.patched import PatchedConfig, PatchedEncoder, Patches, num_blocks
from usfmae.models.vit import Mlp


class PlainConfig(PatchedConfig):
    """Shape of a plain transformer."""

    mlp: Literal["gelu", "swiglu"] = "gelu"
    """Two linear maps with a GELU between, or with a gate."""

    mlp_dim: int = Field(ge=1)
    """Width between the two maps."""

    layer_scale: bool = False
    """Whether each branch is scaled by channel."""

    num_registers: int = Field(default=0, ge=0)
    """Tokens that take part and are thrown away at the end."""

    pre_norm: bool = False
    """Whether tokens are normed before the first block, after patches embedded without bias (CLIP)."""

    norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of the layer norms."""


class LayerScale(nn.Module):
    """A factor for each channel, under DINOv2's name."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "b n d"]) -> Tensor:
        return x * self.gamma


class SwiGlu(nn.Module):
    """w3(silu(first half of w12 x) * second half) (Shazeer 2020, "GLU variants improve transformer")."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "b n d"]) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class PlainBlock(nn.Module):
    """Pre-norm block.

    Args:
        config: the shape.
        layer: which block.
    """

    def __init__(self, config: PlainConfig, layer: int) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.attn = Attention(dim, config.num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = Mlp(dim, config.mlp_dim) if config.mlp == "gelu" else SwiGlu(dim, config.mlp_dim)
        self.ls1, self.ls2 = (LayerScale(dim) if config.layer_scale else nn.Identity() for _ in range(2))
        self.drop_path = config.drop_path_of(layer)

    def forward(self, x: Float[Tensor, "b n d"]) -> Tensor:
        for scale, branch, norm in ((self.ls1, self.attn, self.norm1), (self.ls2, self.mlp, self.norm2)):
            added = scale(branch(norm(x)))
            x = x + skip_whole_branch(added, ratio=self.drop_path, training=self.training)
        return x


class PlainEncoder(PatchedEncoder):
    """Class token and patch tokens after the last norm; registers are left out.

    Args:
        config: the shape.
    """

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config: PlainConfig = config
        self.embed_dim = dim = config.dim
        rows, columns = config.grid
        self.patch_embed = Patches(config, bias=not config.pre_norm)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, dim))
        if config.num_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.num_registers, dim))
        self.norm_pre = nn.LayerNorm(dim, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(PlainBlock(config, layer) for layer in range(config.num_layers))
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        """Class token first, then one token per patch, row by row.

        Raises:
            ValueError: the images are of another size or number of channels.
        """
        self.check_images(images)
        patches = self.patch_embed(images).flatten(1, 2)
        first = self.cls_token.expand(len(images), -1, -1).to(patches.dtype)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed
        num_registers = self.config.num_registers
        if num_registers:  # they have no positions
            registers = self.register_tokens.expand(len(images), -1, -1).to(tokens.dtype)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        tokens = self.norm_pre(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return torch.cat([tokens[:, :1], tokens[:, 1 + num_registers :]], dim=1)


def plain_shape(tensors: dict[str, Tensor], *, head_dim: int, norm_eps: float = 1e-6) -> PlainConfig:
    """The shape of the encoder that `tensors` (our names) belong to; a picture is as wide as high.

    Args:
        tensors: of a file.
        head_dim: width of a head, which no tensor tells.
        norm_eps: epsilon of the layer norms, likewise.

    Raises:
        KeyError: they are of no such encoder.
        ValueError: the positions are no square.
    """
    _, num_tokens, dim = tensors["pos_embed"].shape
    _, channels, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    side = round((num_tokens - 1) ** 0.5)
    if side**2 != num_tokens - 1:
        raise ValueError(f"{num_tokens - 1} positions are no square grid")
    gated = "blocks.0.mlp.w12.weight" in tensors
    registers = tensors.get("register_tokens")
    return PlainConfig(
        dim=dim,
        num_layers=num_blocks(tensors),
        num_heads=dim // head_dim,
        patch_px=patch_px,
        image_px=side * patch_px,
        channels=channels,
        mlp="swiglu" if gated else "gelu",
        mlp_dim=tensors["blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"].shape[1],
        layer_scale="blocks.0.ls1.gamma" in tensors,
        num_registers=0 if registers is None else registers.shape[1],
        pre_norm="norm_pre.weight" in tensors,
        norm_eps=norm_eps,
    )


def resample_plain(tensors: dict[str, Tensor], old: PlainConfig, new: PlainConfig) -> dict[str, str]:
    """Bring positions to another grid, in place; name -> how, for the report.

    DINOv2 resamples without averaging where it has no registers, and with it where it has (hubconf.py,
    `interpolate_antialias`), as Hugging Face does after it; CLIP averages.
    """
    if old.grid == new.grid:
        return {}
    averages = old.num_registers > 0 or not old.layer_scale
    positions = resize_positions(tensors["pos_embed"], old=old.grid, new=new.grid, antialias=averages)
    tensors["pos_embed"] = positions
    return {"pos_embed": f"positions {old.grid[0]}x{old.grid[1]} -> {new.grid[0]}x{new.grid[1]}"}
