# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `migrate_updates_kpfn` (hunk 12a): the node must follow its page; no race is needed."""

from __future__ import annotations

from tests.campaigns import follow, search, without_actor


def test_without_it_one_migration_leaves_a_dangling_key() -> None:
    alone = without_actor("offline_vs_ksmd", "ksmd")
    outcome = follow(alone, "hotplug", without=["migrate_updates_kpfn"])
    assert outcome.verdict == "finding"


def test_with_it_the_node_names_the_new_page() -> None:
    alone = without_actor("offline_vs_ksmd", "ksmd")
    assert follow(alone, "hotplug").verdict == "clean"


def test_without_it_ksmd_comes_upon_the_dangling_key() -> None:
    result = search(
        "offline_vs_ksmd",
        60,
        without=["migrate_updates_kpfn"],
        until=lambda found: found.signatures,
    )
    assert result.signatures
