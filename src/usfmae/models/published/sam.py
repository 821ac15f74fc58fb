"""SAM's image encoder (Kirillov et al. 2023, "Segment Anything", section 3 and appendix A): a plain ViT of
which all but four blocks attend inside windows (Li et al. 2022, "Exploring plain vision transformer backbones
for object detection"), with relative positions for each axis (Li et al. 2022, MViTv2, section 4.1)."""

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.cnn.convnext import ChannelNorm
from usfmae.models.encoder import skip_whole_branch
from usfmae.models.published.patched import PatchedConfig, PatchedEncoder, Patches, num_blocks
from usfmae.models.vit import Mlp

NORM_EPS = 1e-6
PLACES_AT_ONCE = 4096
"""Without gradients, images are encoded so many places at a time: at 1,024 px one image's relative positions
fill 0.8 GB in each global block."""


class SamConfig(PatchedConfig):
    """Shape of SAM's image encoder."""

    window: int = Field(default=14, ge=1)
    """Side of a window in patches."""

    global_layers: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks that attend over the whole picture."""

    out_dim: int = Field(default=256, ge=1)
    """Width of the neck's output."""


class RelativeAttention(nn.Module):
    """Self-attention over a grid with a learned vector for each distance down and each across.

    Args:
        dim: width of a token.
        num_heads: divides `dim`.
        grid: places (down, across) that attend to each other.
    """

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, dim // num_heads))

    def forward(self, x: Float[Tensor, "b rows columns d"]) -> Tensor:
        """softmax(q k^T / sqrt(w) + q r_down + q r_across) v."""
        b, rows, columns, dim = x.shape
        q, k, v = self.qkv(x).reshape(b, rows * columns, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        asking = q.unflatten(2, (rows, columns))
        down = torch.einsum("bnrcw,rkw->bnrck", asking, _by_distance(self.rel_pos_h, rows))
        across = torch.einsum("bnrcw,ckw->bnrck", asking, _by_distance(self.rel_pos_w, columns))
        bias = (down[..., :, None] + across[..., None, :]).reshape(b, self.num_heads, rows * columns, -1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(b, rows, columns, dim))
        return mixed


def _by_distance(table: Float[Tensor, "distances w"], side: int) -> Float[Tensor, "side side w"]:
    """For each asking and each answering place of an axis, the vector of their distance."""
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


class SamBlock(nn.Module):
    """Pre-norm block; inside windows, or over the whole grid.

    Args:
        config: the shape.
        layer: which block.
    """

    def __init__(self, config: SamConfig, layer: int) -> None:
        super().__init__()
        self.window = 0 if layer in config.global_layers else config.window
        grid = (self.window, self.window) if self.window else config.grid
        self.norm1 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.attn = RelativeAttention(config.dim, config.num_heads, grid)
        self.norm2 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.mlp = Mlp(config.dim, 4 * config.dim)
        self.drop_path = config.drop_path_of(layer)

    def forward(self, x: Float[Tensor, "b rows columns d"]) -> Tensor:
        inside = self.norm1(x)
        mixed = in_windows(self.attn, inside, self.window) if self.window else self.attn(inside)
        x = x + skip_whole_branch(mixed, ratio=self.drop_path, training=self.training)
        branch = self.mlp(self.norm2(x))
        return x + skip_whole_branch(branch, ratio=self.drop_path, training=self.training)


def in_windows(attend: nn.Module, x: Float[Tensor, "b rows columns d"], window: int) -> Tensor:
    """Attend inside each window; the grid is filled up with zeros below and right, which answer too (as SAM
    does), and cut again."""
    b, rows, columns, dim = x.shape
    padded = F.pad(x, (0, 0, 0, -columns % window, 0, -rows % window))
    down, across = padded.shape[1] // window, padded.shape[2] // window
    split = padded.reshape(b, down, window, across, window, dim).transpose(2, 3)
    mixed = attend(split.reshape(-1, window, window, dim)).reshape(split.shape)
    whole: Tensor = mixed.transpose(2, 3).reshape(padded.shape)[:, :rows, :columns]
    return whole


class SamEncoder(PatchedEncoder):
    """The neck's feature map, 256 wide, with the mean over all places in front: SAM has no class token.

    Args:
        config: the shape.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config: SamConfig = config
        self.embed_dim = config.out_dim
        self.patch_embed = Patches(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, *config.grid, config.dim))
        self.blocks = nn.ModuleList(SamBlock(config, layer) for layer in range(config.num_layers))
        self.neck = nn.Sequential(
            nn.Conv2d(config.dim, config.out_dim, 1, bias=False),
            ChannelNorm(config.out_dim, eps=NORM_EPS),
            nn.Conv2d(config.out_dim, config.out_dim, 3, padding=1, bias=False),
            ChannelNorm(config.out_dim, eps=NORM_EPS),
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        """The mean over all places, then the places row by row.

        Raises:
            ValueError: the images are of another size or number of channels.
        """
        self.check_images(images)
        if torch.is_grad_enabled():
            return self._encode(images)
        at_once = max(1, PLACES_AT_ONCE // math.prod(self.config.grid))
        return torch.cat([self._encode(part) for part in torch.split(images, at_once)])

    def _encode(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        places = self.neck(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        return torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)


def sam_shape(tensors: dict[str, Tensor]) -> SamConfig:
    """The shape of the encoder that `tensors` (our names) belong to; a picture is as wide as high.

    Blocks over the whole picture have as many distances as its grid; the others tell the window's side.

    Raises:
        KeyError: they are of no such encoder.
    """
    rows, dim = tensors["pos_embed"].shape[1], tensors["pos_embed"].shape[3]
    _, channels, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    distances = [tensors[f"blocks.{k}.attn.rel_pos_h"].shape[0] for k in range(num_blocks(tensors))]
    whole = tuple(layer for layer, number in enumerate(distances) if number == 2 * rows - 1)
    windowed = [number for number in distances if number != 2 * rows - 1]
    return SamConfig(
        dim=dim,
        num_layers=len(distances),
        num_heads=dim // tensors["blocks.0.attn.rel_pos_h"].shape[1],
        patch_px=patch_px,
        image_px=rows * patch_px,
        channels=channels,
        window=(windowed[0] + 1) // 2 if windowed else rows,
        global_layers=whole,
        out_dim=tensors["neck.0.weight"].shape[0],
    )


def resample_sam(tensors: dict[str, Tensor], old: SamConfig, new: SamConfig) -> dict[str, str]:
    """Bring positions (bicubic) and the relative ones of global blocks (linear, as SAM does) to another grid.

    Args:
        tensors: our names; changed in place.
        old: the shape they belong to.
        new: the shape wanted.

    Returns:
        Name -> how, for the report.
    """
    if old.grid == new.grid:
        return {}
    words = f"{old.grid[0]}x{old.grid[1]} -> {new.grid[0]}x{new.grid[1]}"
    image = tensors["pos_embed"].float().permute(0, 3, 1, 2)
    image = F.interpolate(image, size=new.grid, mode="bicubic", antialias=True, align_corners=False)
    tensors["pos_embed"] = image.permute(0, 2, 3, 1)
    done = {"pos_embed": f"positions {words}"}
    for layer in new.global_layers:
        for axis, side in zip("hw", new.grid, strict=True):
            name = f"blocks.{layer}.attn.rel_pos_{axis}"
            table = tensors[name].float().T[None]
            tensors[name] = F.interpolate(table, size=2 * side - 1, mode="linear")[0].T
            done[name] = f"relative positions {words}"
    return done
