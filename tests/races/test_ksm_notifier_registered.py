# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `ksm_notifier_registered` (hunk 13): without the callback there is neither lockout nor
prune.
"""

from __future__ import annotations

from tests.campaigns import search


def test_without_registration_both_the_races_and_the_stale_node_come_back() -> None:
    raced = search("offline_vs_ksmd", 1_500, without=["ksm_notifier_registered"])
    assert {"race_a", "race_d"} & set(raced.marks)
    assert raced.signatures
    stale = search("offline_vs_exit", 300, without=["ksm_notifier_registered"])
    assert "stable_tree:node-of-offlined-pfn" in stale.kinds()
