# SPDX-License-Identifier: GPL-2.0-or-later
"""Defects that the kernel of the day really had: v2.6.33 shows them, and they are marked known."""

from __future__ import annotations

import attrs

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.execution import Outcome
from ksmtrio.scenario import load_scenario, parse_scenario
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


FORKED = """
format = 1
name = "upgrade_undone_in_one_mm"
description = "A's page is shared by a fork; merging it with B's fails half-way"
[ksm]
batches = 1
pages_to_scan = 2
[[process]]
name = "B"
[[process.vma]]
pages = 1
contents = 7
mergeable = true
checksum = true
[[process]]
name = "A"
[[process.vma]]
pages = 1
contents = 7
mergeable = true
checksum = true
[[process]]
name = "fork"
forked_from = "A"
[[actor]]
name = "ksmd"
kind = "ksmd"
[[actor]]
name = "writer"
kind = "page_faulter"
process = "B"
program = [{ op = "store", page = 0, value = 8 }]
"""


def test_l7_an_undone_upgrade_leaves_the_forks_mapping_ksm_without_node() -> None:
    outcome = follow(
        parse_scenario(FORKED, "forked"),
        "ksmd@try_to_merge_one_page.9",  # A's page is KSM(NULL) now
        "writer",  # B's page differs from now on: step 2 of the merge fails
        "ksmd",
    )
    assert_known(outcome, "stable_tree:ksm-page-without-node@quiescence")
