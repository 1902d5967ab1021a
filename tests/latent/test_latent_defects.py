# SPDX-License-Identifier: GPL-2.0-or-later
"""Defects that the kernel of the day really had: v2.6.33 shows them, and they are marked known."""

from __future__ import annotations

import attrs

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.execution import Outcome
from ksmtrio.scenario import load_scenario
from ksmtrio.scenario.schema import Scenario
from tests.campaigns import follow


def assert_known(outcome: Outcome, signature: str) -> None:
    """Assert that exactly this finding was seen, and that it is listed."""
    assert outcome.signatures() == (signature,)
    assert match_known(signature, load_known_issues()) is not None


def only_the_advice() -> Scenario:
    """Return offline_vs_unmerge with nothing after the madvise that would break the page up."""
    scenario = load_scenario("offline_vs_unmerge")
    actors = tuple(
        attrs.evolve(actor, program=actor.program[:1]) if actor.name == "advised" else actor
        for actor in scenario.actors
    )
    return attrs.evolve(scenario, actors=actors)


def test_l2_break_ksm_passes_over_a_migration_entry() -> None:
    outcome = follow(
        only_the_advice(),
        "hotplug@move_to_new_page.1",  # migration entries are in place
        "advised",  # UNMERGEABLE finds nothing to break
        "hotplug",
    )
    assert "break_ksm_meets_migration_entry" in outcome.marks
    assert_known(outcome, "stable_tree:ksm-page-in-unmergeable-vma@quiescence")


def test_a_page_that_is_half_freed_passes_the_check_and_trips_the_bug_on() -> None:
    outcome = follow(
        "offline_vs_exit",
        "hotplug@offline_pages.8",  # the block is isolated
        "task_a@put_page.6#3",  # count 0, private ISOLATE, not on the buddy list yet
        "hotplug",
    )
    assert_known(outcome, "bugs:BUG_ON@__offline_isolated_pages.2")
