# SPDX-License-Identifier: GPL-2.0-or-later
"""The plot is a whole SVG file that names each race and each strategy."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ksmtrio.campaign.bench_plot import plot
from ksmtrio.campaign.bench_strategies import BenchPlan, Cell, StrategiesReport, Target
from ksmtrio.campaign.depths import load_races

RACE = next(race for race in load_races() if race.depth)


def test_it_names_races_and_strategies_and_marks_medians() -> None:
    target = Target(name="a < b", group="switch", depth=2, subject=RACE.subject(), race=RACE)
    plan = BenchPlan(targets=(target,), strategies=("random", "pct", "pos"), runs_max=100)
    cells = {"random": Cell((3, 9), 100), "pct": Cell((None, None), 100), "pos": Cell((), 100)}
    root = ET.fromstring(plot(StrategiesReport(plan, {"a < b": cells})))  # noqa: S314 - our own
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"a < b (d=2)", "random", "pct", "pos", "1", "10", "100"} <= set(texts)
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    fills = [circle.get("fill") == "none" for circle in circles]
    assert fills == [False, False, False, False, True]
