# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of merging and of breaking merges up, each with its later fix."""

from __future__ import annotations

import attrs

from ksmtrio.scenario import load_scenario
from ksmtrio.scenario.schema import Scenario
from tests.latent.defects import FORKED, assert_defect


def only_the_advice() -> Scenario:
    """Return offline_vs_unmerge with nothing after the madvise that would break the page up."""
    scenario = load_scenario("offline_vs_unmerge")
    actors = tuple(
        attrs.evolve(actor, program=actor.program[:1]) if actor.name == "advised" else actor
        for actor in scenario.actors
    )
    return attrs.evolve(scenario, actors=actors)


def test_l2_break_ksm_passes_over_a_migration_entry() -> None:
    shown = assert_defect(
        only_the_advice(),
        "hotplug@move_to_new_page.1",  # migration entries are in place
        "advised",  # UNMERGEABLE finds nothing to break
        "hotplug",
        signature="stable_tree:ksm-page-in-unmergeable-vma@quiescence",
        fix="break_ksm_waits_for_migration",
        after_it="rmap:unfindable-ksm-mapping@quiescence",  # ksmd drops the items of such an area
    )
    assert "break_ksm_meets_migration_entry" in shown.marks


def test_l7_an_undone_upgrade_leaves_the_forks_mapping_ksm_without_node() -> None:
    assert_defect(
        FORKED,
        "ksmd@try_to_merge_one_page.9",  # A's page is KSM(NULL) now
        "writer",  # B's page differs from now on: step 2 of the merge fails
        "ksmd",
        signature="stable_tree:ksm-page-without-node@quiescence",
        fix="proposed_insert_before_upgrade",
    )
