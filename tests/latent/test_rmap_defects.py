# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of reverse maps: ptes of a KSM page to which no rmap_item leads, L6 and L9."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import ENOMEM
from typing import Any

import pytest

from ksmtrio.mm.ksm_sysfs import run_store
from ksmtrio.mm.swapfile_off import sys_swapoff
from ksmtrio.sched.choices import Choices
from tests.kernel_world import KernelWorld, ksm, process
from tests.latent.defects import ORPHANED, assert_defect, fork
from tests.swap_world import SWAP, settle, swap_to_cache

UNFINDABLE = "rmap:unfindable-ksm-mapping"
KERNELS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, [UNFINDABLE]),
    ({"with_": ["proposed_items_follow_mappings"]}, []),
    ({"kernel": "latest-fixes"}, []),
]


def test_l6_a_fork_is_lost_with_the_item_of_its_parent() -> None:
    assert_defect(
        ORPHANED,
        "leaver",
        "ksmd",  # removes A's item; its batch ends before it comes to the fork
        signature=f"{UNFINDABLE}@quiescence",
        fix="proposed_items_follow_mappings",
    )


def judged(body: Callable[[KernelWorld], Awaitable[None]], **options: Any) -> list[str]:
    """Run a body over two processes that share a KSM page, and a fork of the first."""
    shared = (ksm(["A:0", "B:0"]), process("A", 7, 5, mergeable=True), fork("fork", "A"))
    world = KernelWorld(SWAP, *shared, process("B", 7, mergeable=True), **options)
    return world.go(body).found


@pytest.mark.parametrize(("kernel", "found"), KERNELS)
def test_l6_a_page_that_was_swapped_out_as_ksmd_came_by(
    kernel: dict[str, Any], found: list[str]
) -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:0")
        await swap_to_cache(w, "B:0")
        await w.batch(2)  # A's pages are in swap; B's item is next
        await w.batch(2)
        await w.scan()
        assert await w.load("B:0") == (0, 7)
        assert w.page("B:0") is page
        await settle(w)

    assert judged(body, **kernel) == found


@pytest.mark.parametrize(("kernel", "found"), KERNELS)
def test_l6_a_fork_is_lost_as_its_parent_gets_a_page_of_its_own(
    kernel: dict[str, Any], found: list[str]
) -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:0", 8) == 0
        await w.batch(1)  # A's item belongs to its new page from now on

    assert judged(body, **kernel) == found


def test_the_fork_that_inherits_an_item_can_be_found_by_it() -> None:
    async def body(w: KernelWorld) -> None:
        node = w.node("A:0")
        await w.exit("A")
        await w.batch(1)
        heir = w.item("fork:0")
        assert node._hlist[0] is heir
        assert heir._head is node
        assert w.counters()[:2] == (1, 1)
        await w.scan()
        assert w.item("fork:0") is heir

    assert judged(body, kernel="latest-fixes") == []


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        ({}, ["stable_tree:ksm-page-in-unmergeable-vma"]),
        ({"with_": ["proposed_items_follow_mappings"]}, []),
    ],
)
def test_unmergeable_advice_does_not_reach_a_page_in_swap(
    kernel: dict[str, Any], found: list[str]
) -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:0")
        await swap_to_cache(w, "B:0")
        assert await w.madvise("B:0", 1, mergeable=False) == 0
        assert await w.load("B:0") == (0, 7)
        assert (w.page("B:0") is page) == bool(found)
        await settle(w)

    assert judged(body, **kernel) == found


async def unmerged_in_swap(w: KernelWorld) -> None:
    """Write run=2 while the shared page is in the swap cache."""
    await swap_to_cache(w, "B:0")
    assert await run_store(w.g, "2") == 1


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        ({}, [UNFINDABLE]),
        ({"with_": ["swapin_copies_once_unmerged"]}, []),
        ({"kernel": "latest-fixes"}, []),
    ],
)
def test_unmerging_everything_does_not_reach_a_page_in_swap(
    kernel: dict[str, Any], found: list[str]
) -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:0")
        await unmerged_in_swap(w)
        assert await w.load("B:0") == (0, 7)
        assert (w.page("B:0") is page) == bool(found)
        await settle(w)

    assert judged(body, **kernel) == found


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        ({}, True),
        ({"with_": ["swapin_copies_once_unmerged"]}, True),
        ({"with_": ["swapin_copies_once_unmerged", "swapoff_might_copy"]}, False),
        ({"kernel": "latest-fixes"}, False),
    ],
)
def test_swapoff_brings_a_ksm_page_back_where_it_was_unmerged(
    kernel: dict[str, Any], *, found: bool
) -> None:
    async def body(w: KernelWorld) -> None:
        await unmerged_in_swap(w)
        await settle(w)
        assert await sys_swapoff(w.g) == 0
        assert (w.contents("A"), w.contents("fork"), w.contents("B")) == ([7, 5], [7, 5], [7])

    assert (UNFINDABLE in judged(body, **kernel)) == found


def test_swapoff_without_memory_for_a_copy_leaves_the_area_as_it_was() -> None:
    async def body(w: KernelWorld) -> None:
        await unmerged_in_swap(w)
        await settle(w)
        assert await sys_swapoff(w.g) == -ENOMEM
        assert w.pte("B:0").swap
        assert (await w.load("B:0"))[1] == 7

    first_copy = Choices(faults=[0, 0, 0, 0, 1])
    options: dict[str, Any] = {"faults": ["enomem"], "choices": first_copy}
    assert judged(body, kernel="latest-fixes", **options) == []
