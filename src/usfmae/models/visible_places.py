"""A convolutional network on the visible places of its maps alone (SparK, Tian et al. 2023, sec. 3.1).

A map is kept as the rows of its visible places, one row of channels per place. What works on each place by
itself (1x1 convolutions, norms, activations, sums) then costs only the visible share, and batch norm takes
its moments over them. A convolution that looks around gets a whole map in which hidden places are zero, and
of its output the visible rows are kept: nothing of a hidden pixel reaches a visible place, however many
layers follow each other ("Designing BERT for Convolutional Networks", fig. 3).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.visible_norm import norm_rows


class VisiblePlaces:
    """Where the visible patches of a batch lie in maps of any resolution.

    Args:
        visible: indices of the visible patches of each image.
        grid: patches (down, across).
    """

    def __init__(self, visible: Int[Tensor, "b v"], grid: tuple[int, int]) -> None:
        self.visible, self.grid = visible, grid
        self._rows: dict[int, Tensor] = {}

    def rows(self, side: int) -> Int[Tensor, " n"]:
        """Of maps with `side` x `side` places in a patch, all places of a batch row by row: which are
        visible. Patch by patch, in the order of `visible`."""
        if side not in self._rows:
            (down, across), device = self.grid, self.visible.device
            step = torch.arange(side, device=device)
            image = torch.arange(len(self.visible), device=device)[:, None, None, None] * down * side
            row = (self.visible // across * side)[:, :, None, None] + step[:, None]
            column = (self.visible % across * side)[:, :, None, None] + step
            self._rows[side] = ((image + row) * (across * side) + column).flatten()
        return self._rows[side]

    def side_of(self, rows: Float[Tensor, "n c"]) -> int:
        """Places along a patch of the map whose rows these are."""
        return math.isqrt(len(rows) // self.visible.numel())

    def mask(self, side: int) -> Bool[Tensor, "b h w"]:
        """True where a place is visible, of maps with `side` x `side` places in a patch."""
        shown = torch.zeros(len(self.visible), self.grid[0] * self.grid[1], dtype=torch.bool)
        shown = shown.to(self.visible.device).scatter(1, self.visible, True).reshape(-1, *self.grid)
        return shown.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)

    def to_rows(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "n c"]:
        """The visible places of maps."""
        places = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        index = self.rows(maps.shape[2] // self.grid[0])
        out: Tensor = _Picked.apply(places, index)  # type: ignore[no-untyped-call]
        return out

    def to_maps(
        self, rows: Float[Tensor, "n c"], hidden: Float[Tensor, " c"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Whole maps, channels of a place side by side in memory, with `hidden` (or zeros) where nothing is
        visible."""
        side, width = self.side_of(rows), rows.shape[1]
        b, (down, across) = len(self.visible), self.grid
        num_places = b * down * across * side**2
        if hidden is None:
            places = rows.new_zeros(num_places, width)
        else:
            places = hidden.to(rows.dtype).expand(num_places, width)
        places = places.index_copy(0, self.rows(side), rows)
        return places.reshape(b, down * side, across * side, width).permute(0, 3, 1, 2)


class _Picked(torch.autograd.Function):
    """Rows by index, all different. That of torch adds gradients up row by row, which takes a CPU far longer
    than putting each into its place."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.num_places = len(places)
        return places.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (index,), (gradient,) = ctx.saved_tensors, gradients
        whole = gradient.new_zeros(ctx.num_places, gradient.shape[1])
        return whole.index_copy_(0, index, gradient), None


@contextmanager
def seeing_only(encoder: nn.Module, places: VisiblePlaces) -> Iterator[None]:
    """Within, the layers of `encoder` give rows of visible places and take them, or a first map whose hidden
    pixels are zero. Its own code stays what it is, as long as it does nothing to maps but call convolutions
    and batch norms, act on each number, and add.
    """
    forwards: dict[type[nn.Module], Callable[..., Tensor]] = {
        nn.Conv2d: partial(_convolved, places),
        nn.BatchNorm2d: norm_rows,
    }
    changed: list[tuple[nn.Module, Any]] = []
    try:
        for layer in encoder.modules():
            for kind, forward in forwards.items():
                if isinstance(layer, kind):
                    changed.append((layer, vars(layer).get("forward")))
                    layer.forward = partial(forward, layer)
        yield
    finally:
        for layer, own in changed:
            if own is None:
                del layer.forward  # that of the class is behind it
            else:
                layer.forward = own


def _convolved(places: VisiblePlaces, conv: nn.Conv2d, given: Tensor) -> Tensor:
    """Rows of the output of a convolution, from those of its input or from a map."""
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and given.ndim == 2:
        return F.linear(given, conv.weight.flatten(1), conv.bias)
    maps = given if given.ndim == 4 else places.to_maps(given)
    return places.to_rows(type(conv).forward(conv, maps))
