"""Charts as SVG."""

import re
import xml.etree.ElementTree as ET

import pytest

from usfmae.evaluate.report_charts import Axis, Line, Row, interval_chart, line_chart

SETTINGS = {"title": "t", "x_label": "Epoch", "y_label": "Loss"}


def points(figure: str) -> list[tuple[float, float]]:
    path = re.search(r'class="line c0"[^>]* d="M([^"]+)"', figure)
    assert path
    return [tuple(map(float, point.split())) for point in path[1].split("L")]


def test_points_lie_where_the_axes_say():
    # Plot area: x from 62 to 506, y from 254 (bottom) to 12 (top).
    figure = line_chart([Line("", [0, 5, 10], [0, 1, 0.5])], x_range=(0, 10), y_range=(0, 1), **SETTINGS)
    assert points(figure) == [(62, 254), (284, 12), (506, 133)]


def test_a_value_of_x_is_marked_where_the_axis_says():
    line = Line("", [-6, 6], [0, 1])
    upright = 'class="chance" d="M284.0 12V254"'  # 0 is halfway between 62 and 506
    assert upright in line_chart([line], mark_x=0, **SETTINGS)
    assert 'class="chance"' not in line_chart([line], **SETTINGS)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 62, [0, 10, 20, 30, 40, 50, 60]),
        (0.41, 0.62, [0.45, 0.5, 0.55, 0.6]),
        (-3, 7, [-2, 0, 2, 4, 6]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(low, high, expected):
    assert Axis("", low, high).ticks() == pytest.approx(expected)


def test_zero_has_no_sign_and_digits_follow_the_step():
    figure = line_chart([Line("", [-1, 1], [0, 0.05])], **SETTINGS)
    labels = re.findall(r">(-?[\d.]+)</text>", figure)
    assert "0.0" in labels
    assert "-0.0" not in labels
    assert "0.02" in labels


def test_every_chart_is_sound_xml_whatever_the_names():
    name = "<a> & 'b'"
    charts = [
        line_chart(
            [Line(name, [0, 1], [1, 2], [0, 1], [2, 3], dots=True), Line(name, [0, 1], [1, 2])], **SETTINGS
        ),
        line_chart([Line("", [3], [7])], square=True, diagonal=True, **SETTINGS),
        interval_chart([Row(name, 0.5, 0.4, 0.6, 1), Row(name, 0.5, None, None)], title=name, x_label=name),
    ]
    for chart in charts:
        ET.fromstring(chart)
        assert name not in chart


def test_two_lines_differ_without_colour_and_are_named():
    figure = line_chart([Line("pretrained", [0, 1], [1, 2]), Line("scratch", [0, 1], [1, 2])], **SETTINGS)
    dashes = re.findall(r'class="line c\d" stroke-dasharray="([^"]*)"', figure)
    assert len(set(dashes[:2])) == 2
    assert "pretrained</span>" in figure
    assert "scratch</span>" in figure


def test_a_long_line_is_averaged_not_cut():
    figure = line_chart([Line("", list(range(10_000)), [1.0] * 9_999 + [401.0])], **SETTINGS)
    drawn = points(figure)
    assert len(drawn) == 400
    assert drawn[-1][1] < drawn[0][1]  # the last value counts


def test_an_interval_chart_has_a_dot_and_a_bar_per_row():
    figure = interval_chart([Row("a", 0.5, 0.4, 0.6), Row("b", 0.7, None, None, 1)], title="t", x_label="F1")
    assert figure.count("whisker") == 1
    assert figure.count("<circle") == figure.count("<rect") == 1
    assert "a · 0.500" in figure


def test_the_axis_of_a_ratio_ends_at_one():
    figure = interval_chart([Row("a", 1.0, 1.0, 1.0)], title="t", x_label="F1")
    ticks = [float(tick) for tick in re.findall(r">([\d.]+)</text>", figure)]
    assert ticks
    assert max(ticks) == 1.0


def test_long_numbers_beside_an_axis_do_not_run_into_its_name():
    # 0.7575 has a digit more than 0.775: the plot begins 7 px further right.
    for low, high, left in ((0.7582, 0.7746, 62 + 7), (0.7, 0.8, 62)):
        figure = line_chart([Line("", [0, 10], [low, high])], x_range=(0, 10), **SETTINGS)
        labels = re.findall(r'text-anchor="end">([^<]+)</text>', figure)
        assert points(figure)[0][0] == 62 + 7 * max(0, max(map(len, labels)) - 5) == left
