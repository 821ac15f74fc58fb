"""Several pictures as one answer, by a pooling that learns which of them to look at.

Gated attention (Ilse, Tomczak and Welling 2018, "Attention-based Deep Multiple Instance Learning", sec. 2.4,
equations 8 and 9) over frozen features: small, trained for a fixed number of epochs, so nothing is chosen on
validation or test pictures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config
from usfmae.base.seeds import rng_for, seed_for
from usfmae.evaluate.patient_fusion import Bags


class AttentionPoolConfig(Config):
    """Every knob of gated attention pooling."""

    hidden_dim: int = Field(default=64, ge=1)
    """Width of the gate."""

    epochs: int = Field(default=60, ge=1)
    """Times that each bag is seen."""

    batch: int = Field(default=32, ge=1)
    """Bags per step."""

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of AdamW, falling to 0 along a half cosine."""

    weight_decay: float = Field(default=0.05, ge=0)

    seed: int = Field(default=0, ge=0)
    """Of the start and the order."""


class GatedAttentionPool(nn.Module):
    """Scores w^T (tanh(V x) * sigmoid(U x)), a softmax over the pictures of a bag, and a linear classifier on
    the mean with these weights.

    Args:
        dim: width of a feature vector.
        num_classes: width of the output.
        hidden_dim: rows of V and U.
    """

    def __init__(self, dim: int, num_classes: int, *, hidden_dim: int) -> None:
        super().__init__()
        self.content = nn.Linear(dim, hidden_dim)
        self.gate = nn.Linear(dim, hidden_dim)
        self.weigh = nn.Linear(hidden_dim, 1)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(
        self, features: Float[Tensor, "bag n d"], there: Bool[Tensor, "bag n"]
    ) -> tuple[Float[Tensor, "bag class"], Float[Tensor, "bag n"]]:
        """Logits, and the weight of each picture: 0 where none is there, summing to 1 in each bag."""
        scores = self.weigh(self.content(features).tanh() * self.gate(features).sigmoid())[..., 0]
        weights = scores.masked_fill(~there, float("-inf")).softmax(dim=1)
        return self.classifier((weights[:, None] @ features)[:, 0]), weights


@dataclass(frozen=True, eq=False)
class FittedAttentionPool:
    """A trained pooling with the standardisation of its features."""

    network: GatedAttentionPool
    mean: Float32[np.ndarray, " d"]
    std: Float32[np.ndarray, " d"]

    def probabilities(
        self, features: Float32[np.ndarray, "image d"], bags: Bags
    ) -> Float64[np.ndarray, "bag class"]:
        """Predicted probability of each class, per bag."""
        with torch.inference_mode():
            logits, _ = self.network(*_padded((features - self.mean) / self.std, bags))
        found: Float64[np.ndarray, "bag class"] = logits.double().softmax(dim=1).numpy()
        return found

    def weights(
        self, features: Float32[np.ndarray, "image d"], bags: Bags
    ) -> tuple[Float32[np.ndarray, " _"], ...]:
        """How much each picture of each bag counts, in the order of `Bags.members`."""
        with torch.inference_mode():
            _, weights = self.network(*_padded((features - self.mean) / self.std, bags))
        return tuple(row[: len(members)].numpy() for row, members in zip(weights, bags.members, strict=True))


def fit_attention_pool(
    features: Float32[np.ndarray, "image d"],
    bags: Bags,
    *,
    num_classes: int,
    config: AttentionPoolConfig | None = None,
) -> FittedAttentionPool:
    """Train on bags; equal arguments give equal networks on one machine.

    Args:
        features: frozen, of all pictures that `bags` counts into; only those of the bags are seen.
        bags: training patients and their classes.
        num_classes: classes in all, present or not.
        config: size and training; fixed beforehand.

    Raises:
        ValueError: fewer than two bags.
    """
    config = config or AttentionPoolConfig()
    if len(bags) < 2:
        raise ValueError(f"attention pooling needs at least two bags, not {len(bags)}")
    seen = features[np.concatenate(bags.members)]
    mean, std = seen.mean(axis=0), seen.std(axis=0)
    std = np.where(std > 0, std, 1).astype(np.float32)
    inputs, there = _padded((features - mean) / std, bags)
    labels = torch.from_numpy(bags.labels)
    network = GatedAttentionPool(features.shape[1], num_classes, hidden_dim=config.hidden_dim)
    _start(network, torch.Generator().manual_seed(seed_for(config.seed, "attention pool")))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(bags) // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for epoch in range(config.epochs):
        order = rng_for(config.seed, "attention pool order", epoch).permutation(len(bags))
        for start in range(0, len(bags), config.batch):
            part = torch.from_numpy(order[start : start + config.batch])
            logits, _ = network(inputs[part], there[part])
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, labels[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return FittedAttentionPool(network.eval(), mean, std)


def _start(network: GatedAttentionPool, generator: torch.Generator) -> None:
    for layer in (network.content, network.gate, network.weigh, network.classifier):
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)


def _padded(
    features: Float32[np.ndarray, "image d"], bags: Bags
) -> tuple[Float[Tensor, "bag n d"], Bool[Tensor, "bag n"]]:
    """Bags side by side, filled with zeros to the size of the largest, and where a picture is."""
    longest = max(len(members) for members in bags.members)
    rows = np.zeros((len(bags), longest, features.shape[1]), dtype=np.float32)
    there = np.zeros((len(bags), longest), dtype=bool)
    for number, members in enumerate(bags.members):
        rows[number, : len(members)] = features[members]
        there[number, : len(members)] = True
    return torch.from_numpy(rows), torch.from_numpy(there)
