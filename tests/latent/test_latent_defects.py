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
    assert_known(outcome, "bugs:BUG_ON@__offline_isolated_pages.2#2")


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


def small(processes: str, actors: str, *, batches: int = 1) -> Scenario:
    """Return a scenario of a few lines: ksmd and the given processes and actors."""
    head = f"""
format = 1
name = "small"
description = "made for one defect"
[machine]
pages_per_block = 4
[ksm]
batches = {batches}
[[actor]]
name = "ksmd"
kind = "ksmd"
"""
    return parse_scenario(head + processes + actors, "small")


def process(name: str, contents: str, more: str = "") -> str:
    """Return the TOML of a process with one mergeable area in block 1."""
    return (
        f'[[process]]\nname = "{name}"\n[[process.vma]]\npages = 1\ncontents = {contents}\n'
        f"mergeable = true\nblock = 1\n{more}\n"
    )


def task(name: str, of: str, op: str) -> str:
    """Return the TOML of a task with one operation."""
    where = f'process = "{of}"\n' if of else ""
    return f'[[actor]]\nname = "{name}"\nkind = "user_task"\n{where}program = [{op}]\n'


OFFLINE = task("hotplug", "", '{ op = "offline", block = 1 }')


def test_l5_the_walk_of_an_unmapped_page_locks_a_freed_anon_vma() -> None:
    unmapper = task("unmapper", "A", '{ op = "munmap", page = 0 }')
    outcome = follow(
        small(process("A", "7"), unmapper + OFFLINE),
        "ksmd",
        "hotplug@unmap_and_move.2",  # A's page is isolated
        "unmapper@zap_pte_range.6/put_page",  # unmapped, its anon_vma freed, its reference kept
        "hotplug",
    )
    assert_known(outcome, "slab:use-after-free@rmap_walk_anon.2<-do_munmap.3")


def test_the_only_slot_may_go_between_ksmds_two_looks_at_the_list() -> None:
    outcome = follow(
        small(process("A", "7"), task("leaver", "A", '{ op = "exit" }')),
        "ksmd@scan_get_next_rmap_item.4",  # the list was not empty
        "leaver",
        "ksmd",
    )
    assert_known(outcome, "bugs:null-dereference@scan_get_next_rmap_item.6")


def test_ksmd_releases_the_mmap_sem_of_an_mm_that_is_gone() -> None:
    outcome = follow(
        small(process("A", '"-"'), task("leaver", "A", '{ op = "exit" }')),
        "ksmd@scan_get_next_rmap_item.12#2",  # the cursor has left A's slot, mmap_sem is held
        "leaver",
        "ksmd",
    )
    assert_known(outcome, "slab:use-after-free@scan_get_next_rmap_item.12#2<-mmput.3")


def test_a_page_freed_while_isolation_is_undone_is_lost() -> None:
    unmapper = task("unmapper", "A", '{ op = "munmap", page = 0 }')
    veto = '[[notifier]]\nname = "balloon"\npriority = 1\nveto = true\n'
    outcome = follow(
        small(process("A", "7"), veto + unmapper + OFFLINE),
        "ksmd",
        "hotplug@unset_migratetype_isolate.1",  # the veto is in; the block is still isolated
        "unmapper@put_page.6#3",  # read ISOLATE, on its way to that list
        "hotplug",
        "unmapper",
    )
    assert_known(outcome, "frames:page-lost-to-isolation@quiescence")


def test_a_registration_that_saw_the_last_slot_does_not_wake_ksmd() -> None:
    leaver = task("leaver", "A", '{ op = "exit" }')
    newcomer = task("newcomer", "B", '{ op = "madvise", page = 0, advice = "MERGEABLE" }')
    quiet = process("B", "8").replace("mergeable = true", "mergeable = false")
    outcome = follow(
        small(process("A", "7", "checksum = true") + quiet, leaver + newcomer, batches=3),
        "leaver",
        "newcomer@__ksm_enter.3",  # KE.2 saw A's slot: no wake-up needed
        "ksmd",  # forgets A's slot, finds the list empty, sleeps
        "newcomer",
    )
    assert_known(outcome, "progress:hung-task@ksm_scan_thread.7")
