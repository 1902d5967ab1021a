# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `numa_callers_pass_zero` (hunks 17, 18, 24): NUMA callers must not claim to be
offlining.
"""

from __future__ import annotations

from tests.campaigns import search


def test_claiming_to_offline_bypasses_the_recheck() -> None:
    result = search(
        "move_pages_vs_merge",
        1_500,
        without=["numa_callers_pass_zero"],
        until=lambda found: found.marks["race_e"] and found.signatures,
    )
    assert result.marks["race_e"]
    assert result.signatures
