# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG files that follow the reader's light or dark scheme. Both axes of values are
logarithmic: costs span three orders of magnitude."""
import math
from html import escape

WIDTH = 760
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.title { font-size: 15px; font-weight: 600 }
.page { fill: #ffffff } .grid { stroke: #d1d9e0 }
.c0 { fill: #0969da; stroke: #0969da } .c1 { fill: #8250df; stroke: #8250df }
.c2 { fill: #bc4c00; stroke: #bc4c00 } .c3 { fill: #1a7f37; stroke: #1a7f37 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
.c0 { fill: #4493f8; stroke: #4493f8 } .c1 { fill: #ab7df8; stroke: #ab7df8 }
.c2 { fill: #f0883e; stroke: #f0883e } .c3 { fill: #3fb950; stroke: #3fb950 }
}
</style>"""


def _text(x, y, text, css="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1, y1, x2, y2, css):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _short(value):
    """10000 as 10k, 0.2 as 0.2."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _svg(height, title, parts):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">', STYLE,
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(16, 26, title, "title"), *parts, "</svg>", ""])


class Scale:
    """Logarithmic, from the decade below the least value to the one above the largest."""

    def __init__(self, values, begin, end, whole_decades=True):
        low, high = math.log10(min(values)), math.log10(max(values))
        if whole_decades:
            low, high = math.floor(low), math.ceil(high)
        self.low, self.high = low, high if high > low else low + 1
        self.begin, self.end = begin, end

    def at(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def decades(self):
        return [10.0 ** power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def _legend(names, x, y):
    parts = []
    for index, name in enumerate(names):
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" class="c{index}"/>')
        parts.append(_text(x + 15, y, name, "small"))
        x += 30 + 8 * len(name)
    return parts


def bars(title, groups):
    """groups: (label, [(name, value or None), ...])."""
    names = list(dict.fromkeys(name for _, items in groups for name, _ in items))
    values = [value for _, items in groups for _, value in items if value]
    left, top, bar, gap = 290, 60, 13, 12
    height = top + sum(bar * sum(1 for _, v in items if v) + gap for _, items in groups) + 40
    scale = Scale(values, left, WIDTH - 60)
    parts = _legend(names, left, 26 + 18)
    for tick in scale.decades():
        parts.append(_line(scale.at(tick), top - 4, scale.at(tick), height - 36, "grid"))
        parts.append(_text(scale.at(tick), height - 18, _short(tick), "small", "middle"))
    y = top
    for label, items in groups:
        shown = [(names.index(name), value) for name, value in items if value]
        parts.append(_text(left - 10, y + bar * len(shown) / 2 + 4, label, "", "end"))
        for index, value in shown:
            end = scale.at(value)
            parts.append(f'<rect x="{left}" y="{y + 1}" width="{max(1, end - left):.1f}" '
                         f'height="{bar - 2}" class="c{index}"/>')
            parts.append(_text(end + 5, y + bar - 2, _short(value), "small"))
            y += bar
        y += gap
    return _svg(height, title, parts)


def lines(title, x_title, y_title, series, names=None):
    """series: name -> [(x, y), ...]. names: the x values are 0, 1 ... and have these names."""
    left, right, top, height = 70, 30, 66, 360
    bottom = height - 50
    all_x = [x for points in series.values() for x, _ in points]
    all_y = [y for points in series.values() for _, y in points]
    down = Scale(all_y, bottom, top)
    if names:
        def across(x):
            return left + x * (WIDTH - left - right) / (len(names) - 1)
        ticks = list(enumerate(names))
    else:
        across = Scale(all_x, left, WIDTH - right, whole_decades=False).at
        ticks = [(x, _short(x)) for x in sorted(set(all_x))]
    parts = _legend(series, left, 26 + 20)
    for tick in down.decades():
        parts.append(_line(left, down.at(tick), WIDTH - right, down.at(tick), "grid"))
        parts.append(_text(left - 8, down.at(tick) + 4, _short(tick), "small", "end"))
    for x, name in ticks:
        parts.append(_line(across(x), bottom, across(x), bottom + 5, "grid"))
        parts.append(_text(across(x), bottom + 20, name, "small", "middle"))
    parts.append(_text((left + WIDTH - right) / 2, height - 12, x_title, "small", "middle"))
    parts.append(_text(16, top - 2, y_title, "small"))
    for index, points in enumerate(series.values()):
        path = " ".join(f"{across(x):.1f},{down.at(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" class="line c{index}" style="fill:none"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{down.at(y):.1f}" r="3" class="c{index}"/>'
                  for x, y in points]
    return _svg(height, title, parts)


def _round_up(value):
    """1, 2 or 5 times a power of ten: a good end for an axis that begins at 0."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _panel(top, bottom, y_title, series, across):
    """Lines over a common x axis, with linear axes that begin at 0."""
    left, right = 70, 30
    end = _round_up(max((y for points in series.values() for _, y in points), default=1))
    parts = _legend(series, left + 40, top - 12)
    parts.append(_text(16, top - 12, y_title, "small"))
    for step in range(5):
        value = end * step / 4
        y = bottom - (bottom - top) * step / 4
        parts.append(_line(left, y, WIDTH - right, y, "grid"))
        parts.append(_text(left - 8, y + 4, _short(value), "small", "end"))
    for index, points in enumerate(series.values()):
        path = " ".join(f"{across(x):.1f},{bottom - y / end * (bottom - top):.1f}"
                        for x, y in points)
        parts.append(f'<polyline points="{path}" class="line c{index}" style="fill:none"/>')
    return parts


def courses(title, x_title, panels):
    """Panels above one another over the same time. panels: (y title, name -> [(x, y), ...])."""
    left, right, each = 70, 30, 190
    last = max(x for _, series in panels for points in series.values() for x, _ in points)

    def across(x):
        return left + x / last * (WIDTH - left - right)

    parts, top = [], 72
    for y_title, series in panels:
        parts += _panel(top, top + each - 50, y_title, series, across)
        top += each
    bottom = top - 50
    for step in range(7):
        parts.append(_text(across(last * step / 6), bottom + 20,
                           f"{last * step / 6:.{0 if last > 6 else 1}f}", "small", "middle"))
    parts.append(_text((left + WIDTH - right) / 2, bottom + 38, x_title, "small", "middle"))
    return _svg(bottom + 52, title, parts)
