"""Attention probabilities of a network that computes none.

The fused kernels give what attention mixes, never its probabilities. Here they are worked out afterwards from
the queries and keys that a pass left behind, so the network runs as it always does. The gradient with respect
to them needs no second pass either: a block mixes values linearly, `mixed = A v`, so with g the gradient of
`mixed` the gradient of A is `g v^T`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from usfmae.models.attention import Attention


@dataclass(frozen=True, eq=False)
class SeenAttention:
    """What one attention layer did in one pass."""

    qkv: Float[Tensor, "b n triple"]
    """Queries, keys and values, side by side as the layer makes them."""

    mixed: Float[Tensor, "b n d"]
    """The values as attention has mixed them, heads side by side, before the output map; where gradients are
    on, part of the graph."""

    num_heads: int

    def probabilities(self) -> Float[Tensor, "b h n n"]:
        """softmax(q k^T / sqrt(w)), in fp32 and without a gradient; each row (an asking token) sums to 1."""
        q, k, _ = self._heads()
        scores: Tensor = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return scores.softmax(dim=-1)

    def values(self) -> Float[Tensor, "b h n w"]:
        """What each token gives to those that attend to it, in fp32 and without a gradient."""
        return self._heads()[2]

    def gradient(self, of_mixed: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n n"]:
        """The gradient of a score with respect to the probabilities.

        Args:
            of_mixed: its gradient with respect to `mixed`.
        """
        b, n, d = of_mixed.shape
        by_head = of_mixed.float().reshape(b, n, self.num_heads, d // self.num_heads).transpose(1, 2)
        return by_head @ self.values().transpose(-2, -1)

    def _heads(self) -> tuple[Tensor, Tensor, Tensor]:
        b, n, triple = self.qkv.shape
        apart = self.qkv.detach().float().reshape(b, n, 3, self.num_heads, triple // 3 // self.num_heads)
        q, k, v = apart.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v


@contextmanager
def watched_attention(network: nn.Module) -> Iterator[list[SeenAttention]]:
    """Collect what the self-attention layers of `network` do inside the block, in the order they run.

    Nothing is computed and nothing of the network changes; the hooks are gone when the block ends.

    Args:
        network: run plain; a compiled one calls no hooks.

    Yields:
        A list that grows by one entry per layer and pass.
    """
    seen: list[SeenAttention] = []
    latest: dict[Attention, Tensor] = {}
    hooks = []
    for layer in (module for module in network.modules() if isinstance(module, Attention)):

        def keep_qkv(_module: nn.Module, _inputs: Any, out: Tensor, *, layer: Attention = layer) -> None:
            latest[layer] = out

        def keep_mixed(_module: nn.Module, inputs: tuple[Tensor], *, layer: Attention = layer) -> None:
            seen.append(SeenAttention(latest.pop(layer), inputs[0], layer.num_heads))

        hooks.append(layer.qkv.register_forward_hook(keep_qkv))
        hooks.append(layer.proj.register_forward_pre_hook(keep_mixed))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
