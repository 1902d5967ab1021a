# SPDX-License-Identifier: GPL-2.0-or-later
"""Plot and table name each race and each strategy, and show what was not found as such."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ksmtrio.campaign.bench_plot import plot
from ksmtrio.campaign.bench_strategies import BenchPlan, Cell, StrategiesReport, Target
from ksmtrio.campaign.bench_table import markdown
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


def test_the_table_has_a_row_a_race_and_says_what_was_beyond_the_limit() -> None:
    target = Target(
        name="r",
        group="switch",
        depth=3,
        subject=RACE.subject(),
        race=RACE,
        published=("pct: 7 [A Paper]",),
    )
    plan = BenchPlan(targets=(target,), strategies=("pct", "pos", "portfolio"), runs_max=100)
    cells = {
        "pct": Cell((None, None), 100),
        "pos": Cell((2, None), 100),
        "portfolio": Cell((3, 9), 100),
    }
    lines = markdown(StrategiesReport(plan, {"r": cells})).splitlines()
    assert "| race | d | pct | pos | portfolio | portfolio / best |" in lines
    assert "| r | 3 | >100 (0/2) | **2 (>100)** | 3 (9) | 1.5 |" in lines
    assert lines[-1] == "* r: pct: 7 [A Paper]"
