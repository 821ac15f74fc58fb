"""The decoder of CrossMAE: hidden patches ask the visible tokens, and never each other.

Fu et al. 2024, "Rethinking Patch Dependence for Masked Autoencoders" (arXiv 2401.14391), "Reconstruction with
cross-attention" and "Partial reconstruction". Since no hidden patch sees another, any share of them may be
asked for at that share of the cost.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from usfmae.models.attention import CrossAttention
from usfmae.models.masking import Hiding
from usfmae.models.positions import decoder_positions, sincos_positions
from usfmae.models.products import Linear
from usfmae.models.teacher import TeacherHeads
from usfmae.models.vit import Mlp


@dataclass(frozen=True)
class EncodedContext:
    """Another frame of the same clip, as the encoder saw it."""

    layers: list[Float[Tensor, "b tokens e"]]
    """Its tokens, layer by layer as those of the frame itself."""

    visible: Int[Tensor, "b v"]
    """Which of its patches they are; the class token comes first."""


class CrossBlock(nn.Module):
    """Pre-norm block of cross-attention and MLP; the memory arrives normed.

    Args:
        dim: width of an asking token.
        memory_dim: width of an answering token.
        num_heads: attention heads.
        norm_eps: epsilon of the layer norms.
    """

    def __init__(self, dim: int, memory_dim: int, num_heads: int, *, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.cross_attn = CrossAttention(dim, memory_dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, asking: Float[Tensor, "b h d"], memory: Float[Tensor, "b m e"]) -> Tensor:
        """The asking tokens, told more."""
        asking = asking + self.cross_attn(self.norm1(asking), memory)
        out: Tensor = asking + self.mlp(self.norm2(asking))
        return out


class LayerMix(nn.Module):
    """A learned mix of encoder layers for each decoder block, normed ("Inter-block attention" of the paper).

    One thing differs from the published code: the last layer enters after the encoder's final norm, so that
    norm, which the kept encoder ends with, is trained.

    Args:
        num_layers: encoder layers that are mixed.
        num_blocks: decoder blocks; each has its own weights and norm.
        dim: width of the encoder.
        norm_eps: epsilon of the layer norms.
    """

    def __init__(self, num_layers: int, num_blocks: int, dim: int, *, norm_eps: float) -> None:
        super().__init__()
        self.weights = nn.Linear(num_layers, num_blocks, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=norm_eps) for _ in range(num_blocks))

    def forward(self, layers: list[Float[Tensor, "b m e"]]) -> list[Float[Tensor, "b m e"]]:
        """One memory per decoder block."""
        mixed = self.weights(torch.stack(layers, dim=-1)).unbind(dim=-1)
        return [norm(memory) for norm, memory in zip(self.norms, mixed, strict=True)]


class CrossDecoder(nn.Module):
    """Small transformer from mask tokens to hidden pixels; every block sees the encoder's tokens alone.

    Args:
        dim: width.
        num_layers: blocks.
        num_heads: attention heads.
        layers_seen: encoder layers of which each block sees its own mix; 1 for the last alone.
        encoder_dim: width of the encoder's tokens.
        grid: patches (down, across).
        num_values: values of a patch.
        norm_eps: epsilon of the layer norms.
        with_context: whether tokens of another frame may be seen, told apart by a learned embedding.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        layers_seen: int,
        encoder_dim: int,
        grid: tuple[int, int],
        num_values: int,
        norm_eps: float,
        with_context: bool,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(sincos_positions(grid, dim), requires_grad=False)
        if with_context:
            self.frame_token = nn.Parameter(torch.zeros(1, 1, encoder_dim))
        self.mix = (
            LayerMix(layers_seen, num_layers, encoder_dim, norm_eps=norm_eps) if layers_seen > 1 else None
        )
        self.blocks = nn.ModuleList(
            CrossBlock(dim, encoder_dim, num_heads, norm_eps=norm_eps) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.pred = Linear(dim, num_values)
        self.heads: TeacherHeads | None = None

    def forward(
        self,
        encoded: list[Float[Tensor, "b tokens e"]],
        hiding: Hiding,
        grid: tuple[int, int],
        context: EncodedContext | None = None,
    ) -> Float[Tensor, "b h p"]:
        """Predict the hidden patches from the encoder's layers (final norm in the last one)."""
        out: Tensor = self.pred(self.decoded(encoded, hiding, grid, context))
        return out

    def decoded(
        self,
        encoded: list[Float[Tensor, "b tokens e"]],
        hiding: Hiding,
        grid: tuple[int, int],
        context: EncodedContext | None = None,
        *,
        visible_too: bool = False,
    ) -> Float[Tensor, "b asked d"]:
        """Normed tokens of the hidden patches; with `visible_too`, of the visible ones and then of those.

        Visible patches ask as hidden ones do: with their position alone.
        """
        if context is not None:
            pairs = zip(encoded, context.layers, strict=True)
            encoded = [torch.cat([own, other + self.frame_token], dim=1) for own, other in pairs]
        memories = [encoded[-1]] * len(self.blocks) if self.mix is None else self.mix(encoded)
        positions = decoder_positions(self.pos_embed, own=self.grid, grid=grid)
        asked = torch.cat([hiding.visible, hiding.hidden], dim=1) if visible_too else hiding.hidden
        asking = self.mask_token + positions[asked + 1]
        for block, memory in zip(self.blocks, memories, strict=True):
            asking = block(asking, memory)
        out: Tensor = self.norm(asking)
        return out
