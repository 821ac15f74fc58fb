"""Charts as inline SVG: no scripts, no fonts, no files; colours come from the page, so dark and print work.

Colours are those of Okabe and Ito ("Color universal design", 2008), which people with colour-blindness can
tell apart; lines differ in their dashes too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

Number = int | float
"""JSON and counts give whole numbers too."""

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
DIGIT_WIDTH = 7
NUM_COLOURS = 6
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "1 4")
MAX_POINTS = 400
"""Points of a line that are drawn; more are averaged in bins."""


@dataclass(frozen=True)
class Line:
    """One curve, with a band if there is one."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None
    dots: bool = False
    """Mark each point; for curves of few."""


@dataclass(frozen=True)
class Axis:
    """A linear axis."""

    label: str
    low: Number
    high: Number

    def ticks(self) -> list[float]:
        """About five round numbers."""
        span = float(self.high - self.low)
        raw = span / 5
        magnitude = 10.0 ** np.floor(np.log10(raw))
        step = magnitude * min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * magnitude - raw))
        first = np.ceil(self.low / step - 1e-9)
        return [
            float(number * step) + 0.0 for number in np.arange(first, np.floor(self.high / step + 1e-9) + 1)
        ]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[Number, Number] | None = None,
    y_range: tuple[Number, Number] | None = None,
    ratio: bool = False,
    square: bool = False,
    diagonal: bool = False,
    mark_x: Number | None = None,
) -> str:
    """Curves over a common axis, with a legend below if there are several.

    Args:
        lines: at least one, each with at least one point.
        title: what a screen reader says.
        x_label: with its unit.
        y_label: with its unit.
        x_range: ends of the axis; those of the data if None.
        y_range: ends of the axis; those of the data and bands, with some air, if None.
        ratio: y lies between 0 and 1, and so does its axis.
        square: as high as wide.
        diagonal: draw the line of chance.
        mark_x: where an upright line is drawn, such as at the amount that changes nothing.

    Returns:
        HTML of a figure.
    """
    drawn = [_thinned(line) for line in lines]
    width, height = (400, 392) if square else (WIDTH, HEIGHT)
    x_axis = Axis(x_label, *(x_range or _span([line.x for line in drawn], air=0.0)))
    y_axis = Axis(
        y_label, *(y_range or _span([one for line in drawn for one in _all_y(line)], air=0.06, ratio=ratio))
    )
    frame = _Frame(x_axis, y_axis, width, height)
    parts = [frame.axes()]
    if diagonal:
        parts.append(f'<path class="chance" d="{frame.path([0, 1], [0, 1])}"/>')
    if mark_x is not None:
        parts.append(f'<path class="chance" d="M{frame.x(mark_x):.1f} {TOP}V{height - BOTTOM}"/>')
    for number, line in enumerate(drawn):
        colour = f"c{number % NUM_COLOURS}"
        if line.low is not None and line.high is not None:
            outline = frame.path([*line.x, *reversed(line.x)], [*line.high, *reversed(line.low)])
            parts.append(f'<path class="band {colour}" d="{outline}Z"/>')
        dash = DASHES[number % len(DASHES)]
        parts.append(
            f'<path class="line {colour}" stroke-dasharray="{dash}" d="{frame.path(line.x, line.y)}"/>'
        )
        if line.dots:
            dots = "".join(
                f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>'
                for x, y in zip(line.x, line.y, strict=True)
            )
            parts.append(f'<g class="dots {colour}">{dots}</g>')
    picture = _svg(parts, title=title, width=width, height=height)
    shape = "chart square" if square else "chart"
    return f'<figure class="{shape}">{picture}{_legend([line.name for line in lines])}</figure>'


@dataclass(frozen=True)
class Row:
    """One line of an interval chart."""

    name: str
    value: Number
    low: Number | None
    high: Number | None
    colour: int = 0


@dataclass(frozen=True, eq=False)
class Points:
    """Dots of one kind."""

    name: str
    at: Float[np.ndarray, "n 2"]


def scatter_chart(kinds: Sequence[Points], *, title: str) -> str:
    """Dots in a plane whose axes mean nothing, such as features laid out by t-SNE.

    Args:
        kinds: at least one dot in all; from the seventh kind on they are rings.
        title: what a screen reader says, and what stands above.
    """
    everything = np.concatenate([kind.at for kind in kinds])
    low, high = everything.min(axis=0), everything.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    width, height, air = 400, 380, 10
    size = np.array([width, height]) - 2 * air
    parts = []
    for number, kind in enumerate(kinds):
        placed = air + (kind.at - low) / spread * size
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in placed.tolist())
        parts.append(f'<g class="{_dot(number)}" opacity="0.75">{dots}</g>')
    picture = _svg(parts, title=title, width=width, height=height)
    keys = "".join(
        f'<span><svg width="12" height="12" aria-hidden="true"><g class="{_dot(number)}">'
        f'<circle cx="6" cy="6" r="4"/></g></svg>{escape(kind.name)}</span>'
        for number, kind in enumerate(kinds)
    )
    return (
        f'<div><h3>{escape(title)}</h3><figure class="chart square">{picture}'
        f"<figcaption>{keys}</figcaption></figure></div>"
    )


def _dot(number: int) -> str:
    """Classes of the style sheet: filled dots first, then rings in the same colours."""
    return f"{'rings' if number // NUM_COLOURS % 2 else 'dots'} c{number % NUM_COLOURS}"


def interval_chart(rows: Sequence[Row], *, title: str, x_label: str) -> str:
    """Values as dots with their intervals as bars, one row each: what overlaps is seen at once.

    Args:
        rows: at least one.
        title: what a screen reader says.
        x_label: the metric, a ratio between 0 and 1.
    """
    height = TOP + BOTTOM + 34 * len(rows)
    ends = [[end for end in (row.low, row.value, row.high) if end is not None] for row in rows]
    frame = _Frame(Axis(x_label, *_span(ends, air=0.08, ratio=True)), Axis("", 0, len(rows)), WIDTH, height)
    parts = [frame.axes(with_y=False)]
    for number, row in enumerate(rows):
        y = TOP + 34 * number + 20
        colour = f"c{row.colour % NUM_COLOURS}"
        if row.low is not None and row.high is not None:
            parts.append(
                f'<path class="whisker {colour}" d="M{frame.x(row.low):.1f} {y}H{frame.x(row.high):.1f}"/>'
            )
        marker = f'<circle cx="{frame.x(row.value):.1f}" cy="{y}" r="5"/>'
        if row.colour % 2:  # a square, so that the two differ without colour
            marker = f'<rect x="{frame.x(row.value) - 4.5:.1f}" y="{y - 4.5}" width="9" height="9"/>'
        parts.append(f'<g class="dots {colour}">{marker}</g>')
        parts.append(f'<text class="name" x="{LEFT}" y="{y - 9}">{escape(row.name)} · {row.value:.3f}</text>')
    return f'<figure class="chart">{_svg(parts, title=title, width=WIDTH, height=height)}</figure>'


@dataclass(frozen=True)
class _Frame:
    """From numbers to places in the picture."""

    x_axis: Axis
    y_axis: Axis
    width: int
    height: int

    @property
    def left(self) -> int:
        """Where the plot begins; further right where numbers of more than five digits stand beside it."""
        longest = max((len(label) for _, label in _labelled(self.y_axis.ticks())), default=0)
        return LEFT + DIGIT_WIDTH * max(0, longest - 5)

    def x(self, value: Number) -> float:
        share = (value - self.x_axis.low) / (self.x_axis.high - self.x_axis.low)
        return self.left + share * (self.width - self.left - RIGHT)

    def y(self, value: Number) -> float:
        share = (value - self.y_axis.low) / (self.y_axis.high - self.y_axis.low)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def path(self, x: Sequence[Number], y: Sequence[Number]) -> str:
        points = (f"{self.x(one):.1f} {self.y(other):.1f}" for one, other in zip(x, y, strict=True))
        return "M" + "L".join(points)

    def axes(self, *, with_y: bool = True) -> str:
        left, right, bottom = self.left, self.width - RIGHT, self.height - BOTTOM
        parts = []
        for tick, label in _labelled(self.x_axis.ticks()):
            x = self.x(tick)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label}</text>')
        for tick, label in _labelled(self.y_axis.ticks() if with_y else []):
            y = self.y(tick)
            parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            parts.append(f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        middle = (left + right) / 2
        parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        parts.append(
            f'<text class="label" x="{middle}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(self.x_axis.label)}</text>"
        )
        if with_y:
            y = (TOP + bottom) / 2
            parts.append(
                f'<text class="label" transform="translate(14 {y}) rotate(-90)" text-anchor="middle">'
                f"{escape(self.y_axis.label)}</text>"
            )
        return "".join(parts)


def _svg(parts: Sequence[str], *, title: str, width: int, height: int) -> str:
    said = escape(title)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{said}">'
        f"<title>{said}</title>{''.join(parts)}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return f"<figcaption>{escape(names[0])}</figcaption>" if names and names[0] else ""
    keys = []
    for number, name in enumerate(names):
        dash, colour = DASHES[number % len(DASHES)], f"c{number % NUM_COLOURS}"
        swatch = f'<svg width="34" height="10" aria-hidden="true"><path class="line {colour}" '
        keys.append(f'<span>{swatch}stroke-dasharray="{dash}" d="M0 5H34"/></svg>{escape(name)}</span>')
    return f"<figcaption>{''.join(keys)}</figcaption>"


def _labelled(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks as text, with as many digits as the step between them needs."""
    if not ticks:
        return []
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
    digits = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    if round(step * 10**digits, 6) % 1:  # 2.5 needs one more
        digits += 1
    return [(tick, f"{tick:,.{digits}f}") for tick in ticks]


def _span(parts: Sequence[Sequence[Number]], *, air: float, ratio: bool = False) -> tuple[float, float]:
    values = np.concatenate([np.asarray(part, dtype=float) for part in parts])
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    low, high = low - air * (high - low), high + air * (high - low)
    return (max(low, 0.0), min(high, 1.0)) if ratio else (low, high)


def _all_y(line: Line) -> list[Sequence[Number]]:
    return [part for part in (line.y, line.low, line.high) if part is not None]


def _thinned(line: Line) -> Line:
    """A long line as the means of equal bins."""
    if len(line.x) <= MAX_POINTS:
        return line
    bins = np.array_split(np.arange(len(line.x)), MAX_POINTS)
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    return Line(line.name, [float(x[one].mean()) for one in bins], [float(y[one].mean()) for one in bins])
