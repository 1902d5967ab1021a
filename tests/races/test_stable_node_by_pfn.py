# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `stable_node_by_pfn` (hunks 4, 5, 9): a representation; the other hunks make it safe."""

from __future__ import annotations

from tests.campaigns import QUIET, search


def test_pointers_do_no_harm_while_the_prune_comes_before_the_removal() -> None:
    for scenario in ("offline_vs_exit", "offline_vs_ksmd"):
        assert not search(scenario, QUIET, without=["stable_node_by_pfn"]).unexplained(), scenario


def test_a_pointer_left_behind_is_a_use_of_removed_memory() -> None:
    switches = ["stable_node_by_pfn", "offline_prunes_stable_tree"]
    defect = "frames:use-after-offline"
    assert defect in search("offline_vs_exit", 300, without=switches, until=defect).kinds()
