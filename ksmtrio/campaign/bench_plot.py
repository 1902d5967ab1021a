# SPDX-License-Identifier: GPL-2.0-or-later
"""A plot of `bench --strategies`: a row a race, a mark a strategy, executions on a log scale.

Plain SVG, complete in itself. Tests: `tests/unit/test_campaign_bench_plot.py`.
"""

from __future__ import annotations

import math
from typing import Final
from xml.sax.saxutils import escape

from ksmtrio.campaign.bench_strategies import StrategiesReport

_COLOURS: Final = [
    "#1b9e77",
    "#d95f02",
    "#7570b3",
    "#e7298a",
    "#66a61e",
    "#e6ab02",
    "#a6761d",
    "#666666",
    "#1f78b4",
    "#b2182b",
]
_LEFT: Final = 300
_WIDTH: Final = 640
_ROW: Final = 22
_TOP: Final = 60


def plot(report: StrategiesReport) -> str:
    """Return the text of an SVG file.

    A filled mark is a median, its line reaches to the 90th percentile. An open mark at the right
    edge is a median beyond the limit.
    """
    limit = report.plan.runs_max
    height = _TOP + _ROW * (len(report.plan.targets) + 2)
    font = 'font-family="sans-serif" font-size="11"'
    size = f'width="{_LEFT + _WIDTH + 40}" height="{height}"'
    title = (
        f"executions to the first finding, {report.plan.trials} trials: median (mark) and 90th "
        "percentile (line); open: not within the limit"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="100%" height="{height}" fill="white"/>',
        f'<text x="10" y="16">{title}</text>',
    ]
    for index, name in enumerate(report.plan.strategies):
        x = 10 + index * 95
        parts.append(_mark(x, 34, _colour(index), filled=True))
        parts.append(f'<text x="{x + 8}" y="38">{escape(name)}</text>')
    parts.extend(_axis(limit, height))
    for row, target in enumerate(report.plan.targets):
        y = _TOP + _ROW * row + _ROW / 2
        depth = "" if target.depth is None else f" (d={target.depth})"
        label = escape(f"{target.name}{depth}")
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
        for index, name in enumerate(report.plan.strategies):
            cell = report.cells[target.name][name]
            if not cell.executions:
                continue
            median, ninth = cell.quantile(0.5), cell.quantile(0.9)
            at = _x(limit if median is None else median, limit)
            end = _x(limit if ninth is None else ninth, limit)
            level = y + (index - len(report.plan.strategies) / 2) * 1.5
            parts.append(
                f'<line x1="{at:.1f}" x2="{end:.1f}" y1="{level:.1f}" y2="{level:.1f}" '
                f'stroke="{_colour(index)}" stroke-width="1"/>'
            )
            parts.append(_mark(at, level, _colour(index), filled=median is not None))
    return "\n".join([*parts, "</svg>", ""])


def _axis(limit: int, height: int) -> list[str]:
    ticks = [10**power for power in range(int(math.log10(max(limit, 1))) + 1)]
    lines = []
    for tick in sorted({*ticks, limit}):
        x = _x(tick, limit)
        lines.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _ROW}" stroke="#ddd"/>'
        )
        lines.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>')
    return lines


def _x(executions: int, limit: int) -> float:
    return _LEFT + _WIDTH * math.log(max(executions, 1)) / math.log(max(limit, 2))


def _mark(x: float, y: float, colour: str, *, filled: bool) -> str:
    fill = colour if filled else "none"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"/>'


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]
