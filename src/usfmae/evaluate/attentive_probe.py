"""What a classifier that may choose where to look reads off frozen tokens.

One query attends to all tokens of an image, with several heads, and a linear map tells the classes apart from
what it gathers (the attentive probe of Chen et al. 2024, "Context autoencoder", sec. 4.2, and Bardes et al.
2024, V-JEPA, sec. 4). Masked autoencoders spread over many tokens what a mean blurs, so this says more about
them than a linear probe does. The number of epochs is fixed beforehand; nothing is chosen on validation or
test images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config
from usfmae.base.seeds import rng_for, seed_for

AT_ONCE = 256
"""Images answered at a time."""


class AttentiveProbeSettings(Config):
    """Size and training of the probe."""

    num_heads: int = Field(default=4, ge=1)
    """Places that it can look at for different reasons."""

    inner_dim: int = Field(default=256, ge=1)
    """Width in which tokens are compared and gathered, at most that of a token; a multiple of `num_heads`."""

    epochs: int = Field(default=60, ge=1)
    """Times that each image is seen."""

    batch: int = Field(default=64, ge=1)
    """Images per step."""

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of AdamW, falling to 0 along a half cosine."""

    weight_decay: float = Field(default=0.05, ge=0)
    """Of AdamW."""

    drop_ratio: float = Field(default=0.2, ge=0, lt=1)
    """Share of the gathered numbers that are dropped while training."""


class AttentiveProbe(nn.Module):
    """A learned query over tokens, and a linear map.

    Args:
        dim: width of a token.
        num_classes: width of the output.
        inner_dim: width in which tokens are compared and gathered.
        num_heads: heads; must divide `inner_dim`.
        drop_ratio: dropout before the last map.
    """

    def __init__(
        self, dim: int, num_classes: int, *, inner_dim: int, num_heads: int, drop_ratio: float
    ) -> None:
        super().__init__()
        if inner_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide a width of {inner_dim}")
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.zeros(num_heads, inner_dim // num_heads))
        self.key = nn.Linear(dim, inner_dim)
        self.value = nn.Linear(dim, inner_dim)
        self.drop = nn.Dropout(drop_ratio)
        self.classifier = nn.Linear(inner_dim, num_classes)

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b class"]:
        """Logits."""
        keys, values = (part(tokens).unflatten(2, (self.num_heads, -1)) for part in (self.key, self.value))
        scores = torch.einsum("bthd,hd->bht", keys, self.query) / keys.shape[-1] ** 0.5
        gathered = torch.einsum("bht,bthd->bhd", scores.softmax(dim=2), values).flatten(1)
        logits: Tensor = self.classifier(self.drop(gathered))
        return logits


@dataclass(frozen=True, eq=False)
class FittedAttentiveProbe:
    """A trained probe with the standardisation of its tokens."""

    network: AttentiveProbe
    mean: Float32[np.ndarray, " d"]
    std: Float32[np.ndarray, " d"]

    def probabilities(self, tokens: Float[np.ndarray, "n t d"]) -> Float64[np.ndarray, "n class"]:
        """Predicted probability of each class."""
        rows = []
        with torch.inference_mode():
            for start in range(0, len(tokens), AT_ONCE):
                part = torch.from_numpy((tokens[start : start + AT_ONCE] - self.mean) / self.std)
                rows.append(self.network(part).double().softmax(dim=1).numpy())
        return np.concatenate(rows)


def fit_attentive_probe(
    tokens: Float[np.ndarray, "n t d"],
    labels: Int64[np.ndarray, " n"],
    *,
    num_classes: int,
    settings: AttentiveProbeSettings,
    class_weights: Float[Tensor, " class"] | None = None,
    seed: int = 0,
) -> FittedAttentiveProbe:
    """Train on frozen tokens; equal arguments give equal probes on one machine.

    Args:
        tokens: of the training images, the first for the whole image.
        labels: their classes.
        num_classes: classes in all, present or not.
        settings: size and training.
        class_weights: of the loss; equal ones if None.
        seed: of the start, the order and what is dropped.

    Raises:
        ValueError: the heads do not divide the width.
    """
    mean = tokens.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    std = tokens.std(axis=(0, 1), dtype=np.float64).astype(np.float32)
    std = np.where(std > 0, std, np.float32(1))
    generator = torch.Generator().manual_seed(seed_for(seed, "attentive probe"))
    with torch.random.fork_rng(devices=[]):  # torch's own start, which is overwritten, draws numbers too
        probe = AttentiveProbe(
            tokens.shape[2],
            num_classes,
            inner_dim=min(settings.inner_dim, tokens.shape[2]),
            num_heads=settings.num_heads,
            drop_ratio=settings.drop_ratio,
        )
    for part in (probe.key, probe.value, probe.classifier):
        nn.init.xavier_uniform_(part.weight, generator=generator)
        nn.init.zeros_(part.bias)
    nn.init.normal_(probe.query, std=0.02, generator=generator)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(tokens) // settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    targets = torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "attentive probe dropout"))
        for epoch in range(settings.epochs):
            order = rng_for(seed, "attentive probe order", epoch).permutation(len(tokens))
            for start in range(0, len(tokens), settings.batch):
                rows = order[start : start + settings.batch]
                inputs = torch.from_numpy((tokens[rows] - mean) / std)
                loss = F.cross_entropy(probe(inputs), targets[rows], weight=class_weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return FittedAttentiveProbe(probe.eval(), mean, std)
