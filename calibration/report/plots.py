"""Plots as SVG text, without a library: lines over an axis, and bars (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 62
_TICKS = 5
_LEGEND, _LEGEND_ROW = 22, 18
_BAR, _NAME, _NUMBER = 18, 230, 60
LIMIT = "#c0392b"


@dataclass(frozen=True)
class Series:
    """A line through (x, y); points that are not finite are left out."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """`names` are words instead of numbers for x = 0, 1, ..; `falling` puts large x to the left."""

    label: str
    names: Sequence[str] = ()
    falling: bool = False


@dataclass(frozen=True)
class Bar:
    """`kind` decides its colour."""

    name: str
    value: float
    kind: str


def line_plot(
    title: str,
    x: Axis,
    y_label: str,
    series: Sequence[Series],
    limits: Sequence[float] = (),
    *,
    zero: bool = False,
) -> str:
    """An <svg> with a line for each series and a dashed one for each limit of y; `zero` has the
    axis of y reach down to 0."""
    shown = [
        Series(s.name, s.colour, [p for p in s.points if all(map(math.isfinite, p))], s.dashed)
        for s in series
    ]
    xs = [point[0] for s in shown for point in s.points] or [0.0]
    ys = [point[1] for s in shown for point in s.points] + list(limits) or [0.0]
    ys += [0.0] if zero else []
    place = _Place(_extent(xs, 0.04), _extent(ys, 0.08), x.falling)
    parts = [*_frame(title, x, y_label, place)]
    for limit in limits:
        at = place.y(limit)
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
            f'stroke="{LIMIT}" stroke-dasharray="6 4"/>'
        )
    for line in shown:
        parts += _line(line, place)
    entries = [(s.name, s.colour) for s in shown] + ([("limit", LIMIT)] if limits else [])
    legend, height = _legend(entries, _LEFT, _HEIGHT - _LEGEND)
    return _svg(_WIDTH, _HEIGHT - _LEGEND + height, title, [*parts, *legend])


def bar_plot(title: str, label: str, bars: Sequence[Bar], colours: Mapping[str, str]) -> str:
    """An <svg> with a horizontal bar for each, in the given order, in the colour of its kind;
    `label` says what their values are, which are 0 or more."""
    most = max([bar.value for bar in bars if math.isfinite(bar.value)], default=0.0) or 1.0
    room = _WIDTH - _NAME - _NUMBER
    parts = [_text(0, 18, title, "title"), _text(0, 33, label, "label")]
    for row, bar in enumerate(bars):
        top = _TOP + row * _BAR
        length = room * bar.value / most if math.isfinite(bar.value) else room
        parts += [
            _text(_NAME - 8, top + 12, bar.name, "tick", "end"),
            f'<rect class="bar" x="{_NAME}" y="{top + 2}" width="{length:.1f}" '
            f'height="{_BAR - 5}" fill="{colours[bar.kind]}"/>',
            _text(_NAME + length + 6, top + 12, f"{bar.value:.3g}", "tick"),
        ]
    below = _TOP + 8 + _BAR * len(bars)
    legend, height = _legend(list(colours.items()), _NAME, below)
    return _svg(_WIDTH, below + height, title, [*parts, *legend])


@dataclass(frozen=True)
class _Place:
    """From values to pixels."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    falling: bool

    def x(self, value: float) -> float:
        share = (value - self.xs[0]) / (self.xs[1] - self.xs[0])
        return _LEFT + (1 - share if self.falling else share) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.ys[0]) / (self.ys[1] - self.ys[0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _extent(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def _frame(title: str, x: Axis, y_label: str, place: _Place) -> list[str]:
    """Title, grid, ticks and labels."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [_text(0, 18, title, "title")]
    for value in _steps(place.ys):
        at = place.y(value)
        parts += [
            f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e3e6ea"/>',
            _text(_LEFT - 8, at + 4, f"{value:.4g}", "tick", "end"),
        ]
    ticks = (
        [(float(index), name) for index, name in enumerate(x.names)]
        if x.names
        else [(value, f"{value:.4g}") for value in _steps(place.xs)]
    )
    parts += [_text(place.x(value), bottom + 17, name, "tick", "middle") for value, name in ticks]
    parts += [
        f'<line x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#8a929c"/>',
        _text(right, bottom + 34, x.label, "label", "end"),
        _text(0, 33, y_label, "label"),
    ]
    return parts


def _steps(extent: tuple[float, float]) -> list[float]:
    """Round numbers inside the extent, about `_TICKS` of them."""
    low, high = extent
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _line(series: Series, place: _Place) -> list[str]:
    spots = [(place.x(x), place.y(y), x, y) for x, y in series.points]
    dash = ' stroke-dasharray="2 3"' if series.dashed else ""
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top, _, _ in spots)
    parts = [
        f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="1.8"{dash}/>'
    ]
    if not series.dashed:
        parts += [
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{series.colour}">'
            f"<title>{escape(series.name)}, {x:g}: {y:.6g}</title></circle>"
            for left, top, x, y in spots
        ]
    return parts


def _legend(entries: Sequence[tuple[str, str]], left: int, top: int) -> tuple[list[str], int]:
    """(name, colour) from `left` to the right and then below; the parts and their height."""
    parts: list[str] = []
    at, row = left, 0
    for name, colour in entries:
        width = 34 + 6 * len(name)
        if at > left and at + width > _WIDTH:
            at, row = left, row + 1
        base = top + row * _LEGEND_ROW
        parts.append(f'<rect x="{at}" y="{base + 7}" width="12" height="3" fill="{colour}"/>')
        parts.append(_text(at + 17, base + 13, name, "tick"))
        at += width
    return parts, (row + 1) * _LEGEND_ROW + 4


def _text(left: float, top: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
