# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of `bench --strategies` as a Markdown table: a row a race, a column a strategy.

Tests: `tests/unit/test_campaign_bench_plot.py`.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.campaign.bench_strategies import StrategiesReport, Target

_LEARNS_FROM_ALL: Final = "portfolio"


def markdown(report: StrategiesReport) -> str:
    """Return the table, with what was measured above it and the published figures below.

    A cell is the median and, in brackets, the 90th percentile; ``>2000 (7/20)`` where that many
    trials found it within so many executions. The best medians of a row are bold.
    """
    plan = report.plan
    head = ["race", "d", *plan.strategies, "portfolio / best"]
    figures = f"median (90th percentile) of {plan.trials} trials of at most {plan.runs_max}"
    lines = [
        f"Executions to the first finding: {figures} executions.{_not_done(report)}",
        "",
        _line(head),
        _line(["---"] * len(head)),
        *(_line(_row(report, target)) for target in plan.targets),
    ]
    published = [f"* {t.name}: {figure}" for t in plan.targets for figure in t.published]
    if published:
        lines += ["", "Published:", "", *published]
    return "\n".join([*lines, ""])


def _not_done(report: StrategiesReport) -> str:
    return f" Not finished: {report.todo} trials were not done." if report.todo else ""


def _row(report: StrategiesReport, target: Target) -> list[str]:
    cells, best = report.cells[target.name], report.best(target.name)
    row = [target.name, "" if target.depth is None else str(target.depth)]
    for name, cell in cells.items():
        text = cell.text(0.5)
        if cell.quantile(0.5) is not None:
            ninth = cell.quantile(0.9)
            text = f"{text} ({f'>{cell.runs_max}' if ninth is None else ninth})"
        row.append(f"**{text}**" if name in best else text)
    ours = cells.get(_LEARNS_FROM_ALL)
    median = None if ours is None else ours.quantile(0.5)
    least = report.least(target.name)
    row.append("" if median is None or least is None else f"{median / least:.1f}")
    return row


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
