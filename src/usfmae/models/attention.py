"""Multi-head attention, to oneself or to others, with the fastest kernel for the device and number type."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.products import Linear, linear


class Attention(nn.Module):
    """Self-attention with timm's key names (`qkv`, `proj`).

    Args:
        dim: width of a token.
        num_heads: divides `dim`.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide dim={dim}")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b n d"], *, num_queries: int | None = None) -> Tensor:
        """Attend; with `num_queries` only the last so many tokens ask, while all of them answer.

        Returns:
            One row per asking token.
        """
        b, n, d = tokens.shape
        heads, width = self.num_heads, d // self.num_heads
        if num_queries is None or num_queries == n:
            q, k, v = self.qkv(tokens).reshape(b, n, 3, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
            asking = n
        else:
            asking = num_queries
            weight, bias = self.qkv.weight, self.qkv.bias
            q = linear(tokens[:, n - asking :], weight[:d], bias[:d])
            q = q.reshape(b, asking, heads, width).transpose(1, 2)
            kv = linear(tokens, weight[d:], bias[d:])
            k, v = kv.reshape(b, n, 2, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(b, asking, d))
        return out


class CrossAttention(nn.Module):
    """Attention of one set of tokens to another, with CrossMAE's key names (`q`, `kv`, `proj`).

    Args:
        dim: width of an asking token.
        memory_dim: width of an answering token.
        num_heads: divides `dim`.
    """

    def __init__(self, dim: int, memory_dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide dim={dim}")
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.kv = Linear(memory_dim, 2 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, asking: Float[Tensor, "b n d"], memory: Float[Tensor, "b m e"]) -> Tensor:
        """One row per asking token, each made of what the memory answers it."""
        b, n, d = asking.shape
        heads, width = self.num_heads, d // self.num_heads
        q = self.q(asking).reshape(b, n, heads, width).transpose(1, 2)
        k, v = self.kv(memory).reshape(b, -1, 2, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(b, n, d))
        return out


def attend(
    q: Float[Tensor, "b h n w"], k: Float[Tensor, "b h m w"], v: Float[Tensor, "b h m w"]
) -> Float[Tensor, "b h n w"]:
    """softmax(q k^T / sqrt(w)) v (Vaswani et al. 2017, sec. 3.2.1).

    On a CPU in bf16 the fused kernel's backward pass is some 5 times slower than three plain calls, so
    those are used there; in fp32 and on CUDA the fused kernel wins.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        weights = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1)).softmax(dim=-1)
        return torch.matmul(weights, v)
    return F.scaled_dot_product_attention(q, k, v)
