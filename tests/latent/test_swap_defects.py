# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of KSM pages in the swap cache, each with its later fix."""

from __future__ import annotations

from typing import Any

import pytest

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.mm.ksm_tree import get_ksm_page
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_DIRTY, PG_SWAPCACHE, PG_WRITEBACK
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.swapfile_off import sys_swapoff
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_pages
from ksmtrio.mm.vmscan_reclaim import balance_pgdat, shrink_page_list
from tests.kernel_world import AT, KernelWorld, Log, ksm, process, turns
from tests.latent.defects import fork
from tests.swap_world import ROUNDS_MAX, SWAP, reclaim, settle, swap_out, swap_to_cache


@pytest.mark.parametrize(
    ("signature", "fix"),
    [
        (
            "stable_tree:dangling-key@quiescence<-remove_node_from_stable_tree.3",
            "get_ksm_page_waits_while_frozen",
        ),
        ("contents:wrong-content@user.load<-end_swap_bio.read.1", "write_protect_cleans_pte"),
        ("bugs:null-dereference@hold_anon_vma.2", "merge_wants_mergeable_vma"),
    ],
)
def test_l1_l3_and_l8_are_listed(signature: str, fix: str) -> None:
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix


def fixed_by(switch: str) -> list[dict[str, Any]]:
    """Return the kernels that must be clean: v2.6.33 with one fix, and with all of them."""
    return [{"with_": [switch]}, {"kernel": "latest-fixes"}]


async def written_after_swap_out(w: KernelWorld) -> None:
    """A's page is written to while its swap-out ends; B merges with it, and A goes."""
    page = w.page("A:0")
    for _ in range(ROUNDS_MAX):
        if w.pte("A:0").swap:
            break
        await balance_pgdat(w.g, 0)
    assert page.flags.has(PG_WRITEBACK)
    await w.rt.cond_resched("now.1")
    assert await w.store("A:0", 9) == 0  # reuses the page, which stays in the swap cache
    assert w.page("A:0") is page
    assert page.flags.has(PG_SWAPCACHE)
    assert not page.flags.has(PG_DIRTY)
    await settle(w)
    assert await w.store("B:0", 9) == 0
    await w.scan(3)
    assert w.page("B:0") is page
    await w.exit("A")
    await w.drain()
    await swap_out(w, "B:0")
    w.log.append((await w.load("B:0"))[1])
    await settle(w)


def swapped_world(**options: Any) -> KernelWorld:
    """Run it; the device writes the old content and pauses before it ends the writeback."""
    mergeable: dict[str, Any] = {"mergeable": True}
    schedule = turns("task@now.1", "writeback@end_swap_bio.write.2", "task")
    world = KernelWorld(
        SWAP,
        process("B", "-", **mergeable),
        process("A", 7, **mergeable),
        strategy=schedule,
        **options,
    )
    return world.go(written_after_swap_out)


def test_l3_a_page_whose_dirty_bit_went_with_its_first_mapper_is_read_back_stale() -> None:
    world = swapped_world()
    assert [finding.signature for finding in world.findings.all()] == [
        "contents:wrong-content@user.load<-end_swap_bio.read.1"
    ]


@pytest.mark.parametrize("kernel", fixed_by("write_protect_cleans_pte"))
def test_l3_with_the_dirty_bit_on_the_page_it_is_written_again(kernel: dict[str, Any]) -> None:
    world = swapped_world(**kernel)
    assert world.log == [9]
    assert world.found == []


def raced_swap_in(**options: Any) -> KernelWorld:
    """A thread waits in do_swap_page while another's copy takes over the slot that it came from."""

    async def late(w: KernelWorld) -> None:
        w.log.append(await w.load("A:0"))

    async def other(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        entry = w.pte("A:0")
        await w.rt.cond_resched("now.1")
        assert await w.store("A:0", 9) == 0  # a copy: the fork still needs the page
        await w.exit("fork")  # the slot is free, and the page has left the swap cache
        await w.drain()
        copy = w.page("A:0")
        assert await isolate_lru_page(w.g, copy) == 0
        for _ in range(2):  # the first round finds it referenced
            copy.flags.change_in_step(AT, clear=PG_ACTIVE)
            kept, _ = await shrink_page_list(w.g, [copy])
        assert w.pte("A:0") == entry
        await putback_lru_pages(w.g, kept)
        await w.rt.cond_resched("now.2")

    schedule = turns(
        "other",
        "writeback",
        "other@now.1",
        "late@do_swap_page.4",  # has found the page in the swap cache
        "other@now.2",  # the copy has the same slot now
        "late",
    )
    world = KernelWorld(
        SWAP,
        process("A", 7),
        fork("fork", "A"),
        actors=("late", "other"),
        strategy=schedule,
        **options,
    )
    return world.go(late, other)


def test_a_late_swap_in_maps_a_page_that_has_left_the_swap_cache() -> None:
    assert raced_swap_in().found[0] == "contents:wrong-content"


@pytest.mark.parametrize("kernel", fixed_by("swapin_rechecks_swap_cache"))
def test_a_late_swap_in_that_looks_again_tries_again(kernel: dict[str, Any]) -> None:
    world = raced_swap_in(**kernel)
    assert world.log == [(0, 9)]
    assert world.found == []


def frozen_world(**options: Any) -> KernelWorld:
    """Let ksmd look at a KSM page whose count reclaim has frozen, and which was dirtied again."""

    async def kswapd(w: KernelWorld) -> None:
        w.log += [w.page("A:0"), w.node("A:0")]
        await swap_to_cache(w, "A:0")
        assert await reclaim(w) == 0

    async def device_that_read_late(w: KernelWorld) -> None:
        await w.log[0].flags.set(AT, PG_DIRTY)

    async def ksmd(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        page = await get_ksm_page(w.g, w.log[1])
        await w.ksm.ksm_thread_mutex.unlock(AT)
        assert page in (None, w.log[0])
        w.log.append(page)
        if page is not None:
            await put_page(w.g, page, AT)

    schedule = turns(
        "kswapd",  # writes the page out
        "writeback",
        "kswapd@__remove_mapping.3",  # the count is frozen
        "dma",
        "ksmd@get_ksm_page.3/cpu_relax",
        "kswapd",  # finds the page dirty and lets it live
        "ksmd",
    )
    world = KernelWorld(
        SWAP,
        ksm(["A:0", "B:0"]),
        process("A", 7, mergeable=True),
        process("B", 7, mergeable=True),
        actors=("kswapd", "dma", "ksmd"),
        strategy=schedule,
        **options,
    )
    return world.go(kswapd, device_that_read_late, ksmd)


def test_l1_a_frozen_count_costs_a_live_page_its_node() -> None:
    world = frozen_world()
    page, node, got = world.log
    assert got is None
    assert node.dead is not None
    assert page.mapping.value is node.word
    assert [finding.signature for finding in world.findings.all()] == [
        "stable_tree:dangling-key@quiescence<-remove_node_from_stable_tree.3"
    ]


@pytest.mark.parametrize("kernel", fixed_by("get_ksm_page_waits_while_frozen"))
def test_l1_ksmd_waits_for_the_count_to_thaw(kernel: dict[str, Any]) -> None:
    recorder = Log()
    world = frozen_world(recorder=recorder, **kernel)
    page, node, got = world.log
    assert got is page
    assert node.dead is None
    assert "get_ksm_page.3/page_swapcache" in [at for at, *_ in recorder.operations]
    assert world.found == []


def torn_down_by_swapoff(*actors: str, **options: Any) -> list[str]:
    """A exits while swapoff uses it, and ksmd comes by."""

    async def admin(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        assert w.g.swap._mmlist[0] is w.mm("A")
        await w.rt.cond_resched("now")
        assert await sys_swapoff(w.g) == 0

    async def leaver(w: KernelWorld) -> None:
        await w.exit("A")

    async def ksmd(w: KernelWorld) -> None:
        await w.scan()

    schedule = turns(
        "admin",
        "writeback",
        "admin@unuse_mm.6.1",  # has locked the page and pinned A
        "leaver",
        "ksmd",  # waits for the page, having locked A's mmap_sem
        "admin",
    )
    world = KernelWorld(
        SWAP,
        ksm(["A:0", "B:0"]),
        process("A", 7, mergeable=True),
        process("B", 7, mergeable=True),
        actors=actors,
        strategy=schedule,
        **options,
    )
    bodies = {"admin": admin, "leaver": leaver, "ksmd": ksmd}
    world.go(*(bodies[name] for name in actors))
    return [finding.signature for finding in world.findings.all()]


@pytest.mark.parametrize(
    ("actors", "signature"),
    [
        (("admin", "leaver", "ksmd"), "locks:deadlock@__ksm_exit.3<-unuse_mm.6.1"),
        (
            ("ksmd", "admin", "leaver"),
            "locks:deadlock@remove_rmap_item_from_tree.3<-try_to_unuse.4c",
        ),
    ],
)
def test_swapoff_tears_an_address_space_down_with_a_page_locked(
    actors: tuple[str, ...], signature: str
) -> None:
    fix = "proposed_swapoff_puts_mms_unlocked"
    assert torn_down_by_swapoff(*actors) == [signature]
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    for kernel in fixed_by(fix):
        assert torn_down_by_swapoff(*actors, **kernel) == []
