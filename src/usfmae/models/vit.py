"""Vision transformer (Dosovitskiy et al. 2021) with timm's state-dict names."""

import re
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config
from usfmae.models.attention import Attention
from usfmae.models.encoder import Encoder, skip_whole_branch
from usfmae.models.patches import patchify
from usfmae.models.positions import resize_positions, sincos_positions, sincos_positions_on
from usfmae.models.products import Linear, linear

ViTSize = Literal["ti", "s", "b", "l", "h"]
SIZES: dict[str, tuple[int, int, int]] = {
    "ti": (192, 12, 3),
    "s": (384, 12, 6),
    "b": (768, 12, 12),
    "l": (1024, 24, 16),
    "h": (1280, 32, 16),
}
"""Width, layers, heads (Touvron et al. 2021 for Ti and S; Dosovitskiy et al. 2021 for the rest)."""


class ViTConfig(Config):
    """Shape of a vision transformer."""

    size: ViTSize = "ti"
    """Ti, S, B, L or H: width, layers and heads."""

    image_px: int | tuple[int, int] = 224
    """Input side, or (height, width), in pixels; a multiple of `patch_px`."""

    patch_px: int = Field(default=16, ge=1)
    """Side of a patch in pixels."""

    channels: int = Field(default=1, ge=1)
    """Input channels: 1 for grey, 3 for weights that began on ImageNet."""

    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Chance to skip a block, growing from 0 at the first to this at the last (Huang et al. 2016)."""

    norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of the layer norms."""

    def model_post_init(self, _context: object) -> None:
        if any(side % self.patch_px or side < self.patch_px for side in self.image_size_px):
            raise ValueError(f"image_px={self.image_px} is not a multiple of patch_px={self.patch_px}")

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Input (height, width) in pixels."""
        return (self.image_px, self.image_px) if isinstance(self.image_px, int) else self.image_px

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (down, across)."""
        return self.grid_of(self.image_size_px)

    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Patches (down, across) of an image of another (height, width) in pixels."""
        return size_px[0] // self.patch_px, size_px[1] // self.patch_px

    @property
    def num_patches(self) -> int:
        """Patches in an image."""
        return self.grid[0] * self.grid[1]


class PatchEmbed(nn.Module):
    """A linear map of each patch, stored as the convolution that timm and MAE store."""

    def __init__(self, channels: int, patch_px: int, dim: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_px, stride=patch_px)

    def forward(self, patches: Float[Tensor, "b n p"]) -> Float[Tensor, "b n d"]:
        return linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Mlp(nn.Module):
    """Two linear maps with a GELU between, timm's key names."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim: width of a token.
        num_heads: attention heads.
        norm_eps: epsilon of the layer norms.
        drop_path: chance that an image skips each of the two branches while training.
    """

    def __init__(self, dim: int, num_heads: int, *, norm_eps: float, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = drop_path

    def forward(self, tokens: Float[Tensor, "b n d"], *, num_queries: int | None = None) -> Tensor:
        """All tokens, or only the last `num_queries` of them, seeing all."""
        asking = tokens if num_queries is None else tokens[:, tokens.shape[1] - num_queries :]
        asking = asking + self._kept(self.attn(self.norm1(tokens), num_queries=num_queries))
        return asking + self._kept(self.mlp(self.norm2(asking)))

    def _kept(self, branch: Tensor) -> Tensor:
        return skip_whole_branch(branch, ratio=self.drop_path, training=self.training)


class VisionTransformer(Encoder):
    """ViT encoder; `forward` gives all tokens, class token first, after the final norm.

    Positions are sine-cosine and fixed, but stored under `pos_embed` like timm's learned ones, which
    load into the same place. Start: Xavier uniform, as MAE does.

    Args:
        config: the shape.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        dim, num_layers, num_heads = SIZES[config.size]
        self.embed_dim = dim
        self.patch_embed = PatchEmbed(config.channels, config.patch_px, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(sincos_positions(config.grid, dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                num_heads,
                norm_eps=config.norm_eps,
                drop_path=config.drop_path * index / max(num_layers - 1, 1),
            )
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self._learned: bool | None = None

    def forward(
        self,
        images: Float[Tensor, "b c h w"],
        *,
        visible: Int[Tensor, "b v"] | None = None,
        at_px: tuple[int, int] | None = None,
    ) -> Float[Tensor, "b tokens d"]:
        """Encode images, or only the visible patches of them.

        Hidden patches are left out before the embedding, so they cost nothing.

        Args:
            images: standardised as the weights' `InputSpec` says; the size of `config.image_px`.
            visible: indices of the patches to encode, the same number in each image; None for all.
            at_px: (height, width) of the images where they are meant to be of another size; positions are
                then those of their grid.

        Returns:
            The class token and one token per (visible) patch, in the order of `visible`.

        Raises:
            ValueError: the images are of another size or number of channels.
        """
        return self.layers(images, seen=1, visible=visible, at_px=at_px)[0]

    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Patches (down, across) of an image of (height, width)."""
        return self.config.grid_of(size_px)

    def layer_of(self, name: str) -> int | None:
        """0 for embeddings, i + 1 for block i, None for the last norm."""
        return vit_layer_of(name)

    def layers(
        self,
        images: Float[Tensor, "b c h w"],
        *,
        seen: int,
        visible: Int[Tensor, "b v"] | None = None,
        at_px: tuple[int, int] | None = None,
    ) -> list[Float[Tensor, "b tokens d"]]:
        """What `seen` blocks, evenly spaced and ending with the last, give; the last after the final norm.

        Args and errors are those of `forward`, which gives the last alone.
        """
        wanted = (self.config.channels, *(at_px or self.config.image_size_px))
        if tuple(images.shape[1:]) != wanted:
            raise ValueError(f"images are {tuple(images.shape[1:])}, the network takes {wanted}")
        patches = patchify(images, self.config.patch_px)
        own = self.positions_at(at_px or self.config.image_size_px)
        positions = own[:, 1:]
        if visible is not None:
            patches = take_rows(patches, visible)
            positions = own[0, 1:][visible]
        tokens = self.patch_embed(patches) + positions
        first = (self.cls_token + own[:, :1]).expand(images.shape[0], -1, -1)
        tokens = torch.cat([first.to(tokens.dtype), tokens], dim=1)
        num_layers = len(self.blocks)
        chosen = {-(-num_layers * k // seen) for k in range(1, seen)}  # rounded up
        kept = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number in chosen:
                kept.append(tokens)
        return [*kept, self.norm(tokens)]

    def positions_at(self, size_px: tuple[int, int]) -> Float[Tensor, "1 tokens d"]:
        """Positions for images of (height, width): the stored ones at the network's own size.

        At another size sine-cosine positions are computed for that grid, learned ones resampled.
        """
        if size_px == self.config.image_size_px:
            return self.pos_embed
        grid = self.config.grid_of(size_px)
        if self._learned is None:  # asked once: the answer waits for the device
            fixed = sincos_positions(self.config.grid, self.embed_dim)
            self._learned = not torch.equal(self.pos_embed.detach().cpu(), fixed)
        if self._learned:
            return resize_positions(self.pos_embed, old=self.config.grid, new=grid)
        return sincos_positions_on(grid, self.embed_dim, self.pos_embed.device)


def vit_layer_of(name: str) -> int | None:
    """0 for embeddings, i + 1 for block i, None for what comes after the blocks or is no part of a ViT."""
    if name.startswith(("patch_embed", "cls_token", "pos_embed")):
        return 0
    block = re.match(r"blocks\.(\d+)\.", name)
    return int(block[1]) + 1 if block else None


def take_rows(rows: Tensor, indices: Int[Tensor, "b k"]) -> Tensor:
    """Pick rows per image: `rows[b, indices[b, k]]`, shape "b n d" to "b k d"."""
    return rows.gather(1, indices[:, :, None].expand(-1, -1, rows.shape[2]))


def start_weights(module: nn.Module, generator: torch.Generator) -> None:
    """MAE's start (He et al. 2022, appendix A.1): Xavier uniform for linear maps and the patch embedding,
    zero biases, unit norms, 0.02 normal for class, mask and frame tokens; drawn from `generator` in module
    order."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Conv2d):
            matrix = child.weight.data.view(child.weight.shape[0], -1)
            nn.init.xavier_uniform_(matrix, generator=generator)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.LayerNorm):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)
        for own, parameter in child.named_parameters(recurse=False, prefix=name):
            if own.endswith(("cls_token", "mask_token", "frame_token")):
                nn.init.normal_(parameter, std=0.02, generator=generator)
