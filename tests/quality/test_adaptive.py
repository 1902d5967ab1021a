# SPDX-License-Identifier: GPL-2.0-or-later
"""What strategies that learn find, and how soon; every figure here is a bound, not a measurement.

A hunt counts executions to the first finding, profile runs not included. The sweeps over 20 hunts
are slow tests; in the gate stand fewer of them.
"""

from __future__ import annotations

import pytest

from tests.quality.catalogue import catalogue
from tests.quality.hunts import hunt

CROWDS = [f"reorder_{n}" for n in (3, 4, 5, 10, 20, 50, 100)] + ["twostage_100"]
"""Programs whose bug hides behind ever more tasks of the same code."""

BROKEN = [name for name, entry in catalogue().items() if entry.finding is not None]


def hunts(name: str, strategy: str, numbers: range, *, at_most: int) -> list[int | None]:
    entry = catalogue()[name]
    assert entry.finding is not None
    return [
        hunt(entry.subject(), strategy, number, entry.finding, at_most=at_most)
        for number in numbers
    ]


@pytest.mark.parametrize("name", ["reorder_3", "reorder_10", "reorder_20", "reorder_100"])
def test_reads_from_finds_what_hides_in_a_crowd(name: str) -> None:
    assert None not in hunts(name, "reads-from", range(3), at_most=100)


def test_reads_from_finds_it_behind_locks_too() -> None:
    assert None not in hunts("twostage_100", "reads-from", range(1), at_most=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", CROWDS)
def test_reads_from_finds_it_in_every_hunt(name: str) -> None:
    assert None not in hunts(name, "reads-from", range(20), at_most=100)


@pytest.mark.parametrize("name", ["lost_update_2", "bluetooth_driver", "nspr_1", "din_phil_5"])
def test_portfolio_finds_bugs_of_different_kinds(name: str) -> None:
    assert None not in hunts(name, "portfolio", range(3), at_most=2_000)


@pytest.mark.slow
def test_portfolio_finds_nearly_every_bug_of_the_literature_in_every_hunt() -> None:
    missed = [name for name in BROKEN if None in hunts(name, "portfolio", range(20), at_most=2_000)]
    assert len(missed) <= len(BROKEN) // 20, missed
