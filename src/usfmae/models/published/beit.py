"""BEiT's transformer (Bao et al. 2022, "BEiT", section 2.2 and appendix), as USFM has it (Jiao et al. 2024,
"USFM", Medical Image Analysis 96): no positions, but one table of biases by relative place that all blocks
share, and layer scale."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.encoder import skip_whole_branch
from usfmae.models.published.patched import PatchedConfig, PatchedEncoder, Patches, num_blocks
from usfmae.models.published.plain import LayerScale
from usfmae.models.vit import Mlp

NORM_EPS = 1e-6
"""As USFM's build_vit has it; BEiT's own is 1e-12 in Hugging Face, 1e-6 in its own code."""


class BeitConfig(PatchedConfig):
    """Shape of a BEiT with shared relative positions and layer scale."""


def relative_index(grid: tuple[int, int]) -> Int[Tensor, "tokens tokens"]:
    """The row of the table for each asking and each answering token, class token first.

    Rows are ordered by distance down, then across; the last three are for the class token asking a place, a
    place asking the class token, and the class token asking itself.
    """
    rows, columns = grid
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    down, across = down.flatten(), across.flatten()
    apart_down = down[:, None] - down[None, :] + rows - 1
    apart_across = across[:, None] - across[None, :] + columns - 1
    num_distances = (2 * rows - 1) * (2 * columns - 1)
    index = torch.empty(rows * columns + 1, rows * columns + 1, dtype=torch.int64)
    index[1:, 1:] = apart_down * (2 * columns - 1) + apart_across
    index[0, :] = num_distances
    index[:, 0] = num_distances + 1
    index[0, 0] = num_distances + 2
    return index


class RelativeBias(nn.Module):
    """A learned bias of each head for each relative place, under BEiT's name.

    Args:
        grid: places (down, across).
        num_heads: of the attention.
    """

    index: Tensor

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        num_distances = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(num_distances + 3, num_heads))
        self.register_buffer("index", relative_index(grid), persistent=False)

    def forward(self) -> Float[Tensor, "heads tokens tokens"]:
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)


class BiasedAttention(nn.Module):
    """Self-attention with a bias for each pair of tokens.

    Args:
        dim: width of a token.
        num_heads: divides `dim`.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n d"], bias: Float[Tensor, "heads n n"]) -> Tensor:
        b, n, dim = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(b, n, dim))
        return mixed


class BeitBlock(nn.Module):
    """Pre-norm block.

    Args:
        config: the shape.
        layer: which block.
    """

    def __init__(self, config: BeitConfig, layer: int) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = BiasedAttention(dim, config.num_heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim)
        self.drop_path = config.drop_path_of(layer)

    def forward(self, x: Float[Tensor, "b n d"], bias: Float[Tensor, "heads n n"]) -> Tensor:
        mixed = self.ls1(self.attn(self.norm1(x), bias))
        x = x + skip_whole_branch(mixed, ratio=self.drop_path, training=self.training)
        branch = self.ls2(self.mlp(self.norm2(x)))
        return x + skip_whole_branch(branch, ratio=self.drop_path, training=self.training)


class BeitEncoder(PatchedEncoder):
    """Class token and patch tokens after the norm of pretraining.

    Args:
        config: the shape.
    """

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        self.config: BeitConfig = config
        self.embed_dim = config.dim
        self.patch_embed = Patches(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.rel_pos_bias = RelativeBias(config.grid, config.num_heads)
        self.blocks = nn.ModuleList(BeitBlock(config, layer) for layer in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        """Class token first, then one token per patch, row by row.

        Raises:
            ValueError: the images are of another size or number of channels.
        """
        self.check_images(images)
        patches = self.patch_embed(images).flatten(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1).to(patches.dtype), patches], dim=1)
        bias = self.rel_pos_bias()
        for block in self.blocks:
            tokens = block(tokens, bias)
        out: Tensor = self.norm(tokens)
        return out


_TABLE = "rel_pos_bias.relative_position_bias_table"


def beit_shape(tensors: dict[str, Tensor]) -> BeitConfig:
    """The shape of the encoder that `tensors` (our names) belong to; a picture is as wide as high.

    Raises:
        KeyError: they are of no such encoder.
        ValueError: the table is of no square grid.
    """
    dim = tensors["cls_token"].shape[2]
    _, channels, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    num_distances, num_heads = tensors[_TABLE].shape
    distances = round(max(num_distances - 3, 0) ** 0.5)
    if distances**2 != num_distances - 3 or distances % 2 == 0:
        raise ValueError(f"{num_distances} relative places are of no square grid")
    return BeitConfig(
        dim=dim,
        num_layers=num_blocks(tensors),
        num_heads=num_heads,
        patch_px=patch_px,
        image_px=(distances + 1) // 2 * patch_px,
        channels=channels,
    )


def resample_beit(tensors: dict[str, Tensor], old: BeitConfig, new: BeitConfig) -> dict[str, str]:
    """Bring the table of biases to another grid, in place: bicubic over distances, the last three rows kept.

    BEiT's and USFM's own programs fit a spline over distances spaced geometrically instead.

    Returns:
        Name -> how, for the report.
    """
    if old.grid == new.grid:
        return {}
    table = tensors[_TABLE].float()
    image = table[:-3].T.reshape(1, -1, 2 * old.grid[0] - 1, 2 * old.grid[1] - 1)
    size = (2 * new.grid[0] - 1, 2 * new.grid[1] - 1)
    image = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    tensors[_TABLE] = torch.cat([image[0].flatten(1).T, table[-3:]])
    return {_TABLE: f"relative positions {old.grid[0]}x{old.grid[1]} -> {new.grid[0]}x{new.grid[1]}"}
