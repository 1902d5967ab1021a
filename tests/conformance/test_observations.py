# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated kernel answers user programs as a real 2.6.33.3 did: a test for each observation."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.conformance import programs_hotremove, programs_ksm, programs_migration
from tests.conformance.programs import PROGRAMS
from tests.conformance.world import Bench, observations

PROGRAM_FILES = (programs_ksm, programs_migration, programs_hotremove)
"""Importing them registers the programs."""

ABOUT_THE_LINE = ("scenario", "step", "varies_between_runs")
ALONE = "G0"
"""The scenario whose process has one page beside those that every process has."""


def line_id(observation: dict[str, Any]) -> str:
    """Return scenario and step."""
    return f"{observation['scenario']}:{observation['step']}"


OBSERVED = {line_id(observation): observation for observation in observations()}


@cache
def answered(scenario: str, without: tuple[str, ...] = (), kernel: str = "v2.6.33") -> Bench:
    """Run a scenario's program once for all its tests."""
    return Bench(kernel, without=without).run(PROGRAMS[scenario])


def differences(observation: dict[str, Any], bench: Bench) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which an answer differs, with both values.

    A snapshot is compared for the processes that the observation lists. What migrate_pages could
    not move is compared less what it could not move of a process with one page: a real process has
    pages of its own that stay where they are.
    """
    expected = {k: v for k, v in observation.items() if k not in ABOUT_THE_LINE}
    seen = dict(bench.answers[observation["step"]])
    if "pages" in expected:
        seen["pages"] = {name: seen["pages"][name] for name in expected["pages"]}
    if observation["step"].startswith("migrate_pages"):
        alone = answered(ALONE, kernel=bench.kernel).answers[observation["step"]]
        expected["ret"] -= OBSERVED[f"{ALONE}:{observation['step']}"]["ret"]
        seen["ret"] -= alone["ret"]
    return {k: (seen.get(k), v) for k, v in expected.items() if seen.get(k) != v}


@pytest.mark.parametrize("line", OBSERVED)
def test_answer_is_that_of_the_real_kernel(line: str) -> None:
    observation = OBSERVED[line]
    assert differences(observation, answered(observation["scenario"])) == {}


@pytest.mark.parametrize("scenario", PROGRAMS)
def test_program_asks_what_the_real_kernel_was_asked(scenario: str) -> None:
    asked = [o["step"] for o in observations() if o["scenario"] == scenario]
    assert list(answered(scenario).answers) == asked


@pytest.mark.parametrize("scenario", PROGRAMS)
def test_no_oracle_objects_but_to_what_is_known(scenario: str) -> None:
    bench = answered(scenario)
    assert bench.world.rt.stop_reason == "done"
    assert bench.unexplained() == []


@pytest.mark.parametrize(
    ("switch", "line"),
    [
        ("node_isset_returns_minus_one", "F_already_1:mbind"),
        ("numa_callers_skip_ksm", "E1move:to1"),
        ("numa_callers_skip_ksm", "F_mixed_5:mbind"),
        ("offline_locks_out_ksm", "H3private:scanner_while_pending"),
        ("offline_prunes_stable_tree", "H2munmap:after_offline_noscan"),
    ],
)
def test_observation_tells_a_kernel_without_the_switch_apart(switch: str, line: str) -> None:
    observation = OBSERVED[line]
    assert differences(observation, answered(observation["scenario"], (switch,))) != {}


CHANGED_BY_LATER_FIXES = {
    "F_already_1:mbind": "a page on an allowed node is where it ought to be",
    "F_already_3:after": "and so it is not moved",
    "H3private:pending": "a bit in `run`, not a mutex, keeps ksmd out while memory goes offline",
}


@pytest.mark.parametrize("scenario", PROGRAMS)
def test_later_fixes_change_no_answer_but_these(scenario: str) -> None:
    bench = answered(scenario, kernel="latest-fixes")
    own = [line for line, o in OBSERVED.items() if o["scenario"] == scenario]
    changed = [line for line in own if differences(OBSERVED[line], bench)]
    assert changed == [line for line in own if line in CHANGED_BY_LATER_FIXES]
    assert bench.unexplained() == []
