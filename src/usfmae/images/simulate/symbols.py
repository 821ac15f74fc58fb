"""Shapes of the marks that are no text: calipers, lines, logos, scales and body marks, as sheets of ink."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Alpha = Float[np.ndarray, "height width"]
"""Share of each pixel that is ink, 0..1."""

Sheet = UInt8[np.ndarray, "height width"]


def caliper(rng: np.random.Generator, _size: int) -> Alpha:
    """A +, an x, a dotted + or a plus with a gap at its centre; 5 to 15 pixels in any frame."""
    arm = int(rng.integers(2, 7))
    sheet: Sheet = np.zeros((2 * arm + 3, 2 * arm + 3), np.uint8)
    centre = (arm + 1, arm + 1)
    shape = rng.choice(["plus", "cross", "dotted", "gap", "square"])
    thick = 2 if arm > 4 and rng.random() < 0.3 else 1
    if shape == "plus":
        cv2.drawMarker(sheet, centre, 255, cv2.MARKER_CROSS, 2 * arm + 1, thick)
    elif shape == "cross":
        cv2.drawMarker(sheet, centre, 255, cv2.MARKER_TILTED_CROSS, 2 * arm + 1, thick)
    elif shape == "square":
        cv2.rectangle(sheet, (1, 1), (2 * arm + 1, 2 * arm + 1), 255, 1)
    else:
        cv2.drawMarker(sheet, centre, 255, cv2.MARKER_CROSS, 2 * arm + 1, 1)
        if shape == "dotted":
            sheet[1::2, arm + 1] = 0
            sheet[arm + 1, 1::2] = 0
        sheet[arm + 1, arm + 1] = 0
    return _alpha(sheet)


def line(rng: np.random.Generator, size: int) -> Alpha:
    """A straight line, an ellipse or a box, solid or dotted; up to half of `size` pixels long."""
    long = max(12.0, rng.uniform(0.08, 0.5) * size)
    shape = rng.choice(["line", "line", "line", "ellipse", "box"])
    turn = rng.uniform(0, np.pi)
    around = np.linspace(0, 1, 600)
    if shape == "line":
        if rng.random() < 0.3:
            turn = rng.choice([0, np.pi / 2])
        across, down = (around - 0.5) * long * np.cos(turn), (around - 0.5) * long * np.sin(turn)
    elif shape == "ellipse":
        wide, tall, angle = long / 2, long / 2 * rng.uniform(0.4, 1), around * 2 * np.pi
        across = wide * np.cos(angle) * np.cos(turn) - tall * np.sin(angle) * np.sin(turn)
        down = wide * np.cos(angle) * np.sin(turn) + tall * np.sin(angle) * np.cos(turn)
    else:
        ratio, side = rng.uniform(0.4, 1), around * 4
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * long / 2 * [1, ratio]
        across, down = (np.interp(side, range(5), corners[:, axis]) for axis in (0, 1))
    points = np.stack([across - across.min() + 2, down - down.min() + 2], 1)
    sheet: Sheet = np.zeros((int(points[:, 1].max()) + 4, int(points[:, 0].max()) + 4), np.uint8)
    thick = int(rng.choice([1, 1, 2]))
    if rng.random() < 0.5:
        fixed = np.rint(points * 8).astype(np.int32)[None]
        cv2.polylines(sheet, fixed, isClosed=False, color=255, thickness=thick, lineType=cv2.LINE_AA, shift=3)
        return _alpha(sheet)
    walked = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    stops = np.arange(0, walked[-1], rng.uniform(3, 7))
    dash = rng.uniform(0, 2) if rng.random() < 0.5 else 0.0
    for stop in stops:
        ends = [
            (float(np.interp(s, walked, points[:, 0])), float(np.interp(s, walked, points[:, 1])))
            for s in (stop, stop + dash)
        ]
        start, end = ((round(x), round(y)) for x, y in ends)
        cv2.line(sheet, start, end, 255, thick)
    return _alpha(sheet)


def logo(rng: np.random.Generator, _size: int) -> Alpha:
    """A filled badge with a letter cut out, a ring with a letter, or slanted letters; 10 to 32 pixels."""
    side = int(rng.integers(10, 33))
    sheet: Sheet = np.zeros((side + 2, side + 2), np.uint8)
    middle = (side // 2 + 1, side // 2 + 1)
    shape = rng.choice(["disc", "ring", "diamond", "slanted"])
    letter = chr(int(rng.integers(65, 91)))
    ink = 255
    if shape == "disc":
        cv2.circle(sheet, middle, side // 2, 255, -1, cv2.LINE_AA)
        ink = 0
    elif shape == "ring":
        cv2.circle(sheet, middle, side // 2, 255, 1 + side // 16, cv2.LINE_AA)
    elif shape == "diamond":
        half = side // 2
        corners = np.array([[1, 1 + half], [1 + half, 1], [1 + 2 * half, 1 + half], [1 + half, 1 + 2 * half]])
        cv2.fillPoly(sheet, [corners.astype(np.int32)], 255, cv2.LINE_AA)
        ink = 0
    else:
        sheet = np.zeros((side + 4, 2 * side + 8), np.uint8)
        letters = letter + chr(int(rng.integers(65, 91)))
        cv2.putText(
            sheet,
            letters,
            (2, side - 1),
            cv2.FONT_HERSHEY_DUPLEX,
            side / 26,
            255,
            1 + side // 10,
            cv2.LINE_AA,
        )
        lean = np.array([[1, -0.25, 0.25 * side], [0, 1, 0]], np.float32)
        return _alpha(np.asarray(cv2.warpAffine(sheet, lean, (2 * side + 8, side + 4))))
    corner = (middle[0] - side // 5, middle[1] + side // 5)
    cv2.putText(sheet, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, side / 45, ink, 1 + side // 20, cv2.LINE_AA)
    return _alpha(sheet)


def scale_or_body_mark(rng: np.random.Generator, size: int) -> Alpha:
    """A depth scale, a grey bar, an arrow, or the outline of a body part with a bar for the transducer."""
    shape = rng.choice(["ticks", "bar", "arrow", "body", "triangle"])
    if shape == "ticks":
        gap, count, tick = int(rng.integers(6, 25)), int(rng.integers(3, 9)), int(rng.integers(2, 6))
        sheet: Sheet = np.zeros((gap * count + 2, tick), np.uint8)
        sheet[::gap, :] = 255
        return _alpha(sheet if rng.random() < 0.7 else sheet.T.copy())
    if shape == "bar":
        long = int(rng.integers(20, max(21, size // 3)))
        ramp = np.linspace(1, 0.2, long)[:, None] * np.ones((1, int(rng.integers(3, 7))))
        return ramp.astype(np.float32)
    if shape == "arrow":
        reach, turn = rng.uniform(8, 24), rng.uniform(0, 2 * np.pi)
        sheet = np.zeros((56, 56), np.uint8)
        end = (28 + round(reach * np.cos(turn)), 28 + round(reach * np.sin(turn)))
        cv2.arrowedLine(sheet, (28, 28), end, 255, int(rng.integers(1, 3)), cv2.LINE_AA, tipLength=0.4)
        return _alpha(sheet)
    if shape == "triangle":
        side = int(rng.integers(4, 10))
        sheet = np.zeros((side + 2, side + 2), np.uint8)
        cv2.fillPoly(sheet, [np.array([[1, 1], [1, side], [side, side // 2]], np.int32)], 255)
        return _alpha(np.rot90(sheet, int(rng.integers(4))).copy())
    wide, tall = int(rng.integers(8, 18)), int(rng.integers(8, 18))
    sheet = np.zeros((2 * tall + 8, 2 * wide + 8), np.uint8)
    cv2.ellipse(sheet, (wide + 4, tall + 4), (wide, tall), 0, 0, 360, 255, 1, cv2.LINE_AA)
    cv2.circle(sheet, (wide + 4, tall + 4), 2, 255, 1, cv2.LINE_AA)
    start = (wide + 4 + int(rng.integers(-wide, wide)) // 2, tall + 4)
    cv2.line(sheet, start, (start[0] + 7, start[1] + int(rng.integers(-6, 7))), 255, 2, cv2.LINE_AA)
    return _alpha(sheet)


def _alpha(sheet: Sheet) -> Alpha:
    return sheet.astype(np.float32) / np.float32(255)
