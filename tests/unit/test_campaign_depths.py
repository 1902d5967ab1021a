# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of races: complete, consistent, about what there is, and the same in the manual."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import ksmtrio
from ksmtrio.campaign.depths import Race, load_races, parse_races
from ksmtrio.campaign.known import load_known_issues
from ksmtrio.campaign.listing import points
from ksmtrio.errors import EmulatorError
from ksmtrio.kconfig import KINDS

RACES = load_races()
SOUGHT = [race for race in RACES if race.depth]
CONSTRAINT = re.compile(r"(\w+): (\S+) < (\w+): (\S+)")
PAGE = (Path(ksmtrio.__file__).parent / "manual" / "strategies.md").read_text(encoding="utf-8")


@cache
def labels() -> set[str]:
    """Return every label that there is."""
    return {str(row["label"]) for row in points()}


def row(race: Race) -> str:
    """Return the row of the manual's table."""
    constraints = "<br>".join(f"`{constraint}`" for constraint in race.constraints)
    where = "own" if race.text else race.scenario
    of = f"without `{race.switch}`" if race.switch else f"`{race.issue}`"
    depth = str(race.depth) if race.depth else "none"
    return f"| {race.name} | {of} | {where} | {depth} | {constraints} | {race.why} |"


def test_every_switch_of_the_patch_and_a_dozen_defects_are_in_it() -> None:
    assert {race.switch for race in RACES} - {""} == {k for k, v in KINDS.items() if v == "patch"}
    assert sum(bool(race.issue) for race in RACES) >= 12
    assert len({race.name for race in RACES}) == len(RACES)


def test_the_manual_shows_the_same_table() -> None:
    missing = [row(race) for race in RACES if row(race) not in PAGE]
    assert not missing, "strategies.md lacks:\n" + "\n".join(missing)
    assert PAGE.count("| without `") + PAGE.count("@") >= len(RACES)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_it_is_about_one_switch_or_one_listed_defect(race: Race) -> None:
    assert bool(race.switch) != bool(race.issue)
    if race.issue:
        assert race.issue in {issue.signature for issue in load_known_issues()}
    assert race.why


@pytest.mark.parametrize("race", SOUGHT, ids=lambda race: race.name)
def test_depth_is_the_number_of_constraints_between_its_scenarios_actors(race: Race) -> None:
    actors = {actor.name for actor in race.load().actors}
    assert race.depth == max(1, len(race.constraints))
    for constraint in race.constraints:
        match = CONSTRAINT.fullmatch(constraint)
        assert match is not None, constraint
        first, at, second, then = match.groups()
        assert first != second
        assert {first, second} <= actors
        assert {at, then} <= labels(), constraint


def test_what_cannot_be_found_has_no_scenario() -> None:
    for race in RACES:
        assert bool(race.depth) == bool(race.scenario or race.text), race.name


def test_signatures_of_the_switch_count_and_those_of_the_kernel_do_not() -> None:
    race = Race(name="r", depth=1, why="w", switch="stable_node_by_pfn", excluding=("a:b*",))
    assert race.counts("bugs:BUG_ON@nowhere.1")
    assert not race.counts("a:b@nowhere.1")
    assert not race.counts("progress:hung-task@ksm_scan_thread.7")
    named = Race(name="r", depth=1, why="w", switch="stable_node_by_pfn", finding=("a:c*",))
    assert named.counts("a:c@d.1")
    assert not named.counts("bugs:BUG_ON@nowhere.1")


def test_a_malformed_file_is_a_fault_of_ours() -> None:
    with pytest.raises(EmulatorError, match="depth"):
        parse_races('format = 1\n[[race]]\nname = "x"\nwhy = "y"\n')
