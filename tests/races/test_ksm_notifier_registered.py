# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `ksm_notifier_registered` (hunk 13): without the callback there is neither lockout nor
prune.
"""

from __future__ import annotations

from tests.campaigns import search


def test_without_registration_both_the_races_and_the_stale_node_come_back() -> None:
    switches = ["ksm_notifier_registered"]
    raced = search(
        "offline_vs_ksmd",
        1_500,
        without=switches,
        until=lambda found: {"race_a", "race_d"} & set(found.marks) and found.signatures,
    )
    assert {"race_a", "race_d"} & set(raced.marks)
    assert raced.signatures
    defect = "stable_tree:node-of-offlined-pfn"
    assert defect in search("offline_vs_exit", 300, without=switches, until=defect).kinds()
