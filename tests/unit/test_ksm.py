# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise of KSM, and how address spaces are registered and forgotten."""

from __future__ import annotations

from errno import EAGAIN, ENOMEM

import pytest

from ksmtrio.mm.mm_types import (
    MMF_VM_MERGEABLE,
    VM_HUGETLB,
    VM_IO,
    VM_MAYSHARE,
    VM_MERGEABLE,
    VM_PFNMAP,
    VM_SAO,
    VM_SHARED,
)
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, Shot, ksm, machine, process, run, turns, vma

LARGE = machine(pages_per_block=16)


def slots(w: KernelWorld) -> list[str]:
    return [slot.mm.label for slot in w.ksm._mm_list if slot.mm is not None]


def test_advice_registers_the_address_space_once() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        assert await w.madvise("A:0", 2, mergeable=True) == 0
        assert mm.flags.has(MMF_VM_MERGEABLE)
        assert mm.mm_count.value == 2
        assert slots(w) == ["A"]
        assert w.vma("A:0")._vm_flags & VM_MERGEABLE
        assert await w.madvise("A:0", 2, mergeable=True) == 0
        assert mm.mm_count.value == 2
        assert slots(w) == ["A"]

    run(body, process("A", 28, 28))


@pytest.mark.parametrize("flag", [VM_SHARED, VM_MAYSHARE, VM_PFNMAP, VM_IO, VM_HUGETLB, VM_SAO])
def test_advice_is_ignored_for_areas_that_hold_no_private_anonymous_pages(flag: int) -> None:
    async def body(w: KernelWorld) -> None:
        vma_ = w.vma("A:0")
        vma_._vm_flags |= flag
        assert await w.madvise("A:0", 1, mergeable=True) == 0
        assert not vma_._vm_flags & VM_MERGEABLE
        assert slots(w) == []

    run(body, process("A", 28))


def test_answers_on_odd_ranges() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 4, mergeable=True) == 0
        assert await w.madvise("A:0", 4, mergeable=True) == 0
        assert await w.madvise("A:2", 4, mergeable=True) == -ENOMEM
        assert await w.madvise("A:0", 0, mergeable=True) == 0
        assert await w.madvise("B:0", 2, mergeable=False) == 0
        assert await w.madvise("A:0", 4, mergeable=False) == 0
        assert await w.madvise("A:0", 4, mergeable=False) == 0
        await w.munmap("B:0", 2)
        assert await w.madvise("B:0", 2, mergeable=True) == -ENOMEM

    run(body, process("A", 28, 28, 28, 28), process("B", 1, 2))


def test_range_with_a_hole_is_advised_around_it() -> None:
    async def body(w: KernelWorld) -> None:
        pages = (w.address("A:2") - w.address("A:0")) // PAGE_SIZE + 1
        assert await w.madvise("A:0", pages, mergeable=True) == -ENOMEM
        for ref in ("A:0", "A:2"):
            assert w.vma(ref)._vm_flags & VM_MERGEABLE

    run(body, "\n".join([process("A", 1, 2), vma([3])]))


def test_advice_on_a_part_splits_the_area() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:1", 2, mergeable=True) == 0
        flags = [bool(w.vma(f"A:{n}")._vm_flags & VM_MERGEABLE) for n in range(4)]
        assert flags == [False, True, True, False]
        assert len(w.mm("A")._vmas) == 3

    run(body, process("A", 1, 2, 3, 4))


def test_advice_that_changes_nothing_does_not_split_the_area() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:1", 2, mergeable=False) == 0
        assert await w.madvise("B:1", 2, mergeable=True) == 0
        assert len(w.mm("A")._vmas) == len(w.mm("B")._vmas) == 1

    run(body, process("A", 1, 2, 3, 4), process("B", 1, 2, 3, 4, mergeable=True))


def test_unmerging_breaks_the_pages_at_once_and_the_counters_follow_at_the_next_scan() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (1, 7, 0, 0)
        assert await w.madvise("A:2", 2, mergeable=False) == 0
        assert w.counters() == (1, 7, 0, 0)
        shot = w.shot("A")
        assert isinstance(shot, Shot)
        assert shot.ksm == "KKppKKKK"
        assert shot.mapcount == (6, 6, 1, 1, 6, 6, 6, 6)
        assert shot.group == ("A0", "A0", "A2", "A3", "A0", "A0", "A0", "A0")
        for _ in range(2):
            await w.scan()
            assert w.counters() == (1, 5, 0, 0)
        assert await w.madvise("A:2", 2, mergeable=True) == 0
        for _ in range(3):
            await w.scan()
            assert w.counters() == (1, 7, 0, 0)

    run(body, LARGE, process("A", *[21] * 8, mergeable=True))


def test_unmerging_without_memory_asks_to_try_again_and_keeps_the_advice() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 1, mergeable=False) == -EAGAIN
        assert w.vma("A:0")._vm_flags & VM_MERGEABLE
        assert len(w.mm("A")._vmas) == 1

    run(
        body,
        ksm(["A:0", "A:1"]),
        process("A", 7, 7, mergeable=True),
        faults=["enomem"],
        choices=Choices(faults=[1]),
    )


def test_registration_without_memory_asks_to_try_again() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 1, mergeable=True) == -EAGAIN
        assert not w.mm("A").flags.has(MMF_VM_MERGEABLE)
        assert slots(w) == []

    run(body, process("A", 1), faults=["enomem"], choices=Choices(faults=[1]))


def test_madvise_does_not_wait_for_ksm_thread_mutex() -> None:
    async def holder(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        await w.rt.cond_resched("holder.1")
        w.log.append("released")
        await w.ksm.ksm_thread_mutex.unlock(AT)

    async def adviser(w: KernelWorld) -> None:
        await w.madvise("A:0", 2, mergeable=False)
        await w.madvise("A:0", 2, mergeable=True)
        w.log.append("advised")

    schedule = turns("holder@holder.1", "adviser", "holder")
    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    w = KernelWorld(*parts, actors=("holder", "adviser"), strategy=schedule)
    assert w.go(holder, adviser).found == []
    assert w.log == ["advised", "released"]


def test_newcomer_is_put_just_before_the_cursor() -> None:
    async def body(w: KernelWorld) -> None:
        await w.madvise("C:0", 1, mergeable=True)
        assert slots(w) == ["A", "B", "C"]
        await w.batch(2)
        await w.madvise("D:0", 1, mergeable=True)
        assert slots(w) == ["A", "D", "B", "C"]

    merged = [process(name, 1, mergeable=True) for name in "AB"]
    run(body, *merged, process("C", 1), process("D", 1))


def test_exit_before_the_first_scan_is_easy() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.exit("A")
        assert slots(w) == []
        assert mm.dead is not None

    run(body, process("A", 1, mergeable=True))


def test_exit_of_a_process_with_items_is_left_to_ksmd_and_put_next_in_line() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        await w.batch(1)
        assert w.ksm.cursor._mm_slot.mm is w.mm("A")
        await w.exit("C")
        assert slots(w) == ["A", "C", "B"]
        assert w.mm("C").dead is None
        await w.batch(100)
        assert slots(w) == ["A", "B"]

    run(body, *(process(name, ord(name), mergeable=True) for name in "ABC"))


def test_exit_of_the_process_at_the_cursor_is_left_to_ksmd() -> None:
    async def body(w: KernelWorld) -> None:
        await w.batch(1)
        await w.exit("A")
        assert slots(w) == ["A", "B"]
        await w.batch(100)
        assert slots(w) == ["B"]
        assert w.mm("A").dead is not None

    run(body, process("A", 1, 2, mergeable=True), process("B", 3, mergeable=True))


def test_shared_page_survives_the_exit_of_one_user() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await w.exit("A")
        assert w.page("B:0") is page
        assert page.count.value == 1
        await lru_add_drain_all(w.g, AT)

    parts = (ksm(["A:0", "B:0"]), *(process(name, 7, mergeable=True) for name in "AB"))
    assert run(body, *parts).contents("B") == [7]
