# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel `latest-fixes` shows none of the listed defects where v2.6.33 shows them."""

from __future__ import annotations

import pytest

from ksmtrio.campaign.known import load_known_issues
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import builtin_names
from ksmtrio.scenario.schema import Scenario
from tests.campaigns import QUIET, search
from tests.latent.defects import (
    FORKED,
    INTERRUPTED,
    LAST_SLOT,
    LEFT_MM,
    ONLY_SLOT,
    ORPHANED,
    REFILLED,
    UNMAPPED,
    UNMERGED_MM,
    VETOED,
)

SHOWN_BY = [
    (ONLY_SLOT, "bugs:null-dereference@scan_get_next_rmap_item.6"),
    (LEFT_MM, "slab:use-after-free@scan_get_next_rmap_item.12#2"),
    (UNMERGED_MM, "slab:use-after-free@unmerge_and_remove_all_rmap_items.8"),
    (INTERRUPTED, "bugs:null-dereference@remove_rmap_item_from_tree.8#2"),
    (LAST_SLOT, "progress:hung-task@ksm_scan_thread.7"),
    (ORPHANED, "rmap:unfindable-ksm-mapping@quiescence"),
    (UNMAPPED, "slab:use-after-free@rmap_walk_anon.2"),
    (VETOED, "frames:page-lost-to-isolation@quiescence"),
    ("offline_veto", "locks:order-cycle@ksm_thread_mutex<-memory_chain.rwsem"),
    ("offline_vs_unmerge", "stable_tree:ksm-page-in-unmergeable-vma@quiescence"),
]
NOT_BY_CHANCE = [FORKED, REFILLED, "offline_vs_exit", "offline_vs_ksmd", "mbind_vs_ksmd"]
"""Where random schedules do not find the listed defect in a few hundred seeds."""

SEEDS = QUIET
SEEDS_AT_MOST = 2000
"""Of a search that ends at the first finding; each of these takes under 200 now."""


def test_every_listed_defect_has_a_fix_that_latest_fixes_has() -> None:
    fixed, released = build_kernel("latest-fixes").switches(), build_kernel().switches()
    for issue in load_known_issues():
        assert issue.fix is not None, issue.signature
        assert fixed[issue.fix]
        assert not released[issue.fix]


@pytest.mark.parametrize(("scenario", "defect"), SHOWN_BY)
def test_what_random_schedules_find_on_the_released_kernel_is_gone(
    scenario: str | Scenario, defect: str
) -> None:
    shown = search(scenario, SEEDS_AT_MOST, until=defect).signatures
    assert any(signature.startswith(defect) for signature in shown)
    assert search(scenario, SEEDS, kernel_name="latest-fixes").kinds() == set()


def test_frames_of_isolated_blocks_are_handed_out_no_more() -> None:
    defect = "frames:isolated-frame-allocated"
    assert defect in search("everything", SEEDS_AT_MOST, until=defect).kinds()
    assert search("everything", SEEDS // 4, kernel_name="latest-fixes").kinds() == set()


@pytest.mark.parametrize("scenario", NOT_BY_CHANCE)
def test_other_races_are_clean_too(scenario: str | Scenario) -> None:
    assert search(scenario, SEEDS // 2, kernel_name="latest-fixes").kinds() == set()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", builtin_names())
def test_no_scenario_at_all_shows_anything(scenario: str) -> None:
    assert search(scenario, QUIET, kernel_name="latest-fixes").kinds() == set()
