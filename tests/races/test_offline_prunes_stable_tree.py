# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `offline_prunes_stable_tree` (hunk 12b): no node may name a frame that went offline."""

from __future__ import annotations

from tests.campaigns import QUIET, search


def test_without_the_prune_a_removed_sections_node_is_left_and_used() -> None:
    defects = {"stable_tree:node-of-offlined-pfn", "frames:use-after-offline"}
    result = search(
        "offline_vs_exit",
        300,
        without=["offline_prunes_stable_tree"],
        until=lambda found: defects <= found.kinds(),
    )
    assert defects <= result.kinds()


def test_with_it_the_node_is_pruned_at_mem_offline() -> None:
    result = search("offline_vs_exit", QUIET)
    assert result.marks["window_prune"]
    assert result.marks["prune_at_offline"]
    assert not result.unexplained()
