"""Draws costs against sizes as SVG, both on logarithmic axes, for light and dark pages.

It knows nothing of how costs are measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 460, 340  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 62, 30, 38, 78  # around its axes; the legend is below
COLUMNS = 2
LEGEND = 132  # pixels from one entry to the next
COLOURS = ("c0", "c1", "c2")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222; }
.title { font-weight: 600; font-size: 14px; }
.grid { stroke: #ddd; } .axis { stroke: #888; } .page { fill: #fff; }
polyline { fill: none; stroke-width: 2; }
.c0 { stroke: #0969da; } .c1 { stroke: #bc4c00; } .c2 { stroke: #1a7f37; }
circle.c0 { fill: #0969da; } circle.c1 { fill: #bc4c00; } circle.c2 { fill: #1a7f37; }
.guide { stroke: #888; stroke-dasharray: 4 4; }
@media (prefers-color-scheme: dark) {
text { fill: #ddd; } .grid { stroke: #333; } .axis { stroke: #888; } .page { fill: #161b22; }
.c0 { stroke: #58a6ff; } .c1 { stroke: #f0883e; } .c2 { stroke: #3fb950; }
circle.c0 { fill: #58a6ff; } circle.c1 { fill: #f0883e; } circle.c2 { fill: #3fb950; }
}
"""


class Curve(NamedTuple):
    """What a work costs at several sizes."""

    axis: str  # what it grows with
    work: str
    sizes: list[float]  # rising
    seconds: list[float]  # of a CPU
    mib: list[float]  # memory at the peak


class Scale(NamedTuple):
    """A logarithmic axis of a panel."""

    low: float  # value at its start
    high: float
    start: float  # pixels
    end: float

    def at(self, value: float) -> float:
        """The place of a value in pixels."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)


def draw(curves: Sequence[Curve], legend: Sequence[str]) -> str:
    """Draw a panel for each axis, with a line for each work.

    Args:
        curves: The works.
        legend: Words for each of them.
    """
    axes = list(dict.fromkeys(curve.axis for curve in curves))
    rows = math.ceil(len(axes) / COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>CPU seconds by minutes of video, faces a frame, tracks and titles</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    for number, axis in enumerate(axes):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        named = zip(curves, legend, strict=True)
        parts += _panel(axis, [(curve, words) for curve, words in named if curve.axis == axis])
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(axis: str, named: Sequence[tuple[Curve, str]]) -> list[str]:
    curves = [curve for curve, _ in named]
    across = Scale(*_range(curves, "sizes"), LEFT, WIDTH - RIGHT)
    low, high = _range(curves, "seconds")
    up = Scale(
        10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), HEIGHT - BOTTOM, TOP
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [_text(middle, 18, f"CPU seconds by {axis}", "middle", "title")]
    for value in _powers(up.low, up.high):
        y = up.at(value)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(_text(LEFT - 6, y + 4, f"{value:g} s", "end"))
    for value in _ticks(curves[0].sizes):
        x = across.at(value)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, "grid"))
        parts.append(_text(x, HEIGHT - BOTTOM + 17, f"{value:,.0f}", "middle"))
    parts.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"))
    parts.append(_line(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "axis"))
    parts.append(_text(middle, HEIGHT - BOTTOM + 36, f"{axis} (dashed: exponent 1)", "middle"))
    parts += _guide(across, up)
    for number, (curve, words) in enumerate(named):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            (across.at(size), up.at(seconds))
            for size, seconds in zip(curve.sizes, curve.seconds, strict=True)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="{colour}" points="{line}"/>')
        parts += [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        x = LEFT + number * LEGEND
        parts.append(_line(x, HEIGHT - 22, x + 18, HEIGHT - 22, colour, 2))
        parts.append(_text(x + 24, HEIGHT - 18, words))
    return parts


def _guide(across: Scale, up: Scale) -> list[str]:
    """A dashed line of the exponent 1, up from the lower left corner."""
    most = min(across.high / across.low, up.high / up.low)
    ends = [(across.at(across.low * times), up.at(up.low * times)) for times in (1, most)]
    return [_line(*ends[0], *ends[1], "guide")]


def _range(curves: Sequence[Curve], name: str) -> tuple[float, float]:
    values = [value for curve in curves for value in getattr(curve, name)]
    low, high = min(values), max(values)
    return low, high if high > low else 2 * low


def _powers(low: float, high: float) -> list[float]:
    first, last = round(math.log10(low)), round(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def _ticks(sizes: Sequence[float]) -> list[float]:
    """Powers of ten where sizes span several, else the sizes themselves."""
    if sizes[-1] < 1000 * sizes[0]:
        return [size for size in sizes if f"{size / sizes[0]:g}"[0] != "3"]
    return [size for size in sizes if math.log10(size).is_integer()]


def _line(x0: float, y0: float, x1: float, y1: float, style: str, width: int = 1) -> str:
    place = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line class="{style}" {place} stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{style}">{escape(text)}</text>'
