# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock and munlock: which pages become mlocked, where they go, and what they break up."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, ENOMEM

import pytest

from ksmtrio.mm.mlock import sys_mlock, sys_munlock
from ksmtrio.mm.mm_types import VM_LOCKED, VM_READ, VM_WRITE
from ksmtrio.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_LOCKED,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    sys_mmap,
)
from ksmtrio.mm.mmzone import LRU_UNEVICTABLE
from ksmtrio.mm.mremap import MREMAP_MAYMOVE, sys_mremap
from ksmtrio.mm.page_flags import PG_DIRTY, PG_LRU, PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, ksm, process, run, vma
from tests.swap_world import reclaim, swap_out, with_device

TWO_AREAS = "\n".join([process("A", 1, 2, "-", "-"), vma([5, 6])])
MERGED = (
    ksm(["A:0", "B:0"]),
    process("A", 7, 1, mergeable=True),
    process("B", 7, 2, mergeable=True),
)


async def mlock(w: KernelWorld, ref: str, pages: int) -> int:
    """Lock pages from `ref` on."""
    return await sys_mlock(w.g, w.mm(ref[0]), w.address(ref), pages * PAGE_SIZE)


async def munlock(w: KernelWorld, ref: str, pages: int) -> int:
    """Unlock pages from `ref` on."""
    return await sys_munlock(w.g, w.mm(ref[0]), w.address(ref), pages * PAGE_SIZE)


def mlocked(w: KernelWorld, *refs: str) -> list[bool]:
    """Whether pages are mlocked and where that belongs."""
    pages = [w.page(ref) for ref in refs]
    for page in pages:
        where = page in w.g.zone_of(page)._lru_list[LRU_UNEVICTABLE]
        assert where == page.flags.has(PG_UNEVICTABLE) == page.flags.has(PG_MLOCKED)
        assert page.flags.has(PG_LRU)
    return [page.flags.has(PG_MLOCKED) for page in pages]


def test_mlock_faults_pages_in_and_takes_them_to_the_unevictable_list() -> None:
    async def body(w: KernelWorld) -> None:
        assert await mlock(w, "A:1", 2) == 0
        assert mlocked(w, "A:0", "A:1", "A:2") == [False, True, True]
        assert w.pte("A:2").write
        assert w.pte("A:3").none
        assert w.vma("A:1")._vm_flags & VM_LOCKED
        assert not w.vma("A:0")._vm_flags & VM_LOCKED

    assert run(body, TWO_AREAS).contents("A")[:4] == [1, 2, 0, None]


def test_munlock_takes_them_back() -> None:
    async def body(w: KernelWorld) -> None:
        await mlock(w, "A:0", 4)
        assert await munlock(w, "A:0", 4) == 0
        await w.drain()
        assert mlocked(w, "A:0", "A:1", "A:2", "A:3") == [False] * 4
        assert not w.vma("A:0")._vm_flags & VM_LOCKED

    run(body, TWO_AREAS)


@pytest.mark.parametrize("call", [sys_mlock, sys_munlock])
@pytest.mark.parametrize(
    ("offset", "length", "answer"),
    [
        (0, 0, 0),
        (1, PAGE_SIZE, 0),  # rounded down, and up
        (0, (1 << 64) - 2 * PAGE_SIZE, -EINVAL),  # wraps around
        (-PAGE_SIZE, PAGE_SIZE, -ENOMEM),
        (0, 5 * PAGE_SIZE, -ENOMEM),
        (1 << 40, 0, 0),
    ],
)
def test_arguments_get_the_kernels_answer(
    call: object, offset: int, length: int, answer: int
) -> None:
    async def body(w: KernelWorld) -> None:
        syscall = sys_mlock if call is sys_mlock else sys_munlock
        assert await syscall(w.g, w.mm("A"), w.address("A:0") + offset, length) == answer

    run(body, TWO_AREAS)


def test_what_lies_before_a_hole_is_locked() -> None:
    async def body(w: KernelWorld) -> None:
        assert await mlock(w, "A:0", 30) == -ENOMEM
        assert mlocked(w, "A:0", "A:3", "A:4") == [True, True, False]

    run(body, TWO_AREAS)


def test_mlock_breaks_ksm_pages_of_a_writable_area() -> None:
    async def body(w: KernelWorld) -> None:
        assert await mlock(w, "A:0", 2) == 0
        assert w.shot("A").ksm == "pp"  # type: ignore[union-attr]
        assert w.page("B:0").mapcount.value == 0
        assert mlocked(w, "A:0", "A:1", "B:0") == [True, True, False]

    w = run(body, *MERGED)
    assert (w.contents("A"), w.contents("B")) == ([7, 1], [7, 2])


def test_mlock_of_a_read_only_area_keeps_ksm_pages() -> None:
    async def body(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_write(AT)
        w.vma("A:0").vm_flags &= ~VM_WRITE
        await w.mm("A").mmap_sem.up_write(AT)
        assert await mlock(w, "A:0", 1) == 0
        assert w.page("A:0") is w.page("B:0")
        assert mlocked(w, "A:0") == [True]

    run(body, *MERGED)


def test_zero_page_is_not_mlocked() -> None:
    async def body(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_write(AT)
        w.vma("A:2").vm_flags = VM_READ
        await w.mm("A").mmap_sem.up_write(AT)
        assert await mlock(w, "A:2", 1) == 0
        assert w.pte("A:2").special

    run(body, TWO_AREAS)


def test_area_that_cannot_be_read_cannot_be_faulted_in() -> None:
    async def body(w: KernelWorld) -> None:
        flags = MAP_PRIVATE | MAP_ANONYMOUS
        start = await sys_mmap(w.g, w.mm("A"), 0, PAGE_SIZE, PROT_NONE, flags)
        assert await sys_mlock(w.g, w.mm("A"), start, PAGE_SIZE) == -ENOMEM

    run(body, TWO_AREAS)


def test_page_that_another_locked_area_maps_stays_mlocked() -> None:
    async def body(w: KernelWorld) -> None:
        for name in "AB":
            await w.mm(name).mmap_sem.down_write(AT)
            w.vma(f"{name}:0").vm_flags &= ~VM_WRITE
            await w.mm(name).mmap_sem.up_write(AT)
            assert await mlock(w, f"{name}:0", 1) == 0
        await munlock(w, "A:0", 1)
        assert mlocked(w, "B:0") == [True]
        await munlock(w, "B:0", 1)
        await w.drain()
        assert mlocked(w, "B:0") == [False]

    run(body, *MERGED)


def test_isolated_page_gets_there_when_it_is_put_back() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await isolate_lru_page(w.g, page) == 0
        assert await mlock(w, "A:0", 1) == 0
        assert page.flags.has(PG_MLOCKED)
        assert not page.flags.has(PG_LRU)
        await putback_lru_page(w.g, page)
        assert mlocked(w, "A:0") == [True]

    run(body, TWO_AREAS)


def test_munmap_and_exit_unlock_first() -> None:
    async def body(w: KernelWorld) -> None:
        await mlock(w, "A:0", 6)
        first, last = w.page("A:0"), w.page("A:1")
        await w.munmap("A:0", 1)
        assert first.flags.value == 0
        await w.exit("A")
        assert last.flags.value == 0

    run(body, TWO_AREAS)


def test_child_of_a_locked_parent_is_not_locked_and_its_copy_is_evictable() -> None:
    async def body(w: KernelWorld) -> None:
        await mlock(w, "A:0", 2)
        await w.fork("A", "C")
        assert not w.vma("C:0")._vm_flags & VM_LOCKED
        assert mlocked(w, "C:0") == [True]
        await w.store("C:0", 4)
        await w.drain()
        assert mlocked(w, "C:0", "A:0") == [False, True]

    run(body, TWO_AREAS)


def test_locked_mapping_is_there_at_once() -> None:
    async def body(w: KernelWorld) -> None:
        flags, prot = MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, PROT_READ | PROT_WRITE
        start = await sys_mmap(w.g, w.mm("A"), 0, 2 * PAGE_SIZE, prot, flags)
        w.machine.addresses["A"] += [start, start + PAGE_SIZE]
        assert mlocked(w, "A:6", "A:7") == [True, True]

    run(body, TWO_AREAS)


def test_locked_area_that_grows_has_its_new_pages_locked() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:4")
        await mlock(w, "A:4", 2)
        assert await sys_mremap(w.g, mm, start, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0) == start
        w.machine.addresses["A"].append(start + 2 * PAGE_SIZE)
        assert mlocked(w, "A:4", "A:6") == [True, True]
        await w.munmap("A:4", 3)

    run(body, TWO_AREAS)


def test_locked_area_that_moves_stays_locked() -> None:
    async def body(w: KernelWorld) -> None:
        await mlock(w, "A:0", 1)
        page = w.page("A:0")
        big = 40 * PAGE_SIZE
        moved = await sys_mremap(w.g, w.mm("A"), w.address("A:0"), PAGE_SIZE, big, MREMAP_MAYMOVE)
        w.machine.addresses["A"][0] = moved
        assert w.page("A:0") is page
        assert mlocked(w, "A:0") == [True]
        assert w.vma("A:0")._vm_flags & VM_LOCKED

    run(body, TWO_AREAS, "[machine]\npages_per_block = 64")


def test_pages_come_back_from_swap_and_stay() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        assert await mlock(w, "A:0", 1) == 0
        page = w.page("A:0")
        assert page.flags.has(PG_DIRTY)
        await reclaim(w, rounds=6)
        assert w.page("A:0") is page
        assert w.pte("A:1").swap

    with_device(body, TWO_AREAS)


@pytest.mark.parametrize(
    ("faults", "answer"),
    [([1], -ENOMEM), ([0, 1], -ENOMEM), ([0, 0, 1], 0), ([0, 0, 1, 1], -EAGAIN)],
)
def test_lack_of_memory(faults: list[int], answer: int) -> None:
    """For the two splits, and for a page: that is tried again once the ones before are locked."""

    async def body(w: KernelWorld) -> None:
        assert await mlock(w, "A:1", 2) == answer

    run(body, TWO_AREAS, faults=["enomem"], choices=Choices(faults=faults))


# -- KSM in locked areas ---------------------------------------------------------------------------


def test_page_merged_in_a_locked_area_hands_its_mlock_to_the_ksm_page() -> None:
    async def body(w: KernelWorld) -> None:
        assert mlocked(w, "A:0") == [True]
        old = w.page("A:0")
        await w.scan(3)
        assert w.page("A:0") is w.page("B:0") is w.page("C:0") is not old
        assert mlocked(w, "A:0") == [True]
        assert old.flags.value == 0
        await munlock(w, "A:0", 1)
        await w.drain()
        assert mlocked(w, "A:0") == [False]

    parts = (
        ksm(["B:0", "C:0"]),
        process("A", 7, mergeable=True, checksum=True, locked=True),
        process("B", 7, mergeable=True),
        process("C", 7, mergeable=True),
    )
    run(body, *parts)


def test_mlocked_ksm_page_takes_in_another_mlocked_page() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.page("A:0") is w.page("B:0")
        assert mlocked(w, "A:0") == [True]

    keys = {"mergeable": True, "checksum": True, "locked": True}
    run(body, process("A", 7, **keys), process("B", 7, **keys))


def test_write_to_a_locked_ksm_page_leaves_the_old_one_to_the_others_unlocked() -> None:
    async def body(w: KernelWorld) -> None:
        assert mlocked(w, "B:0") == [True]
        await w.store("A:0", 8)
        await w.drain()
        assert mlocked(w, "A:0", "B:0") == [True, False]

    run(body, *(p.replace("contents", "locked = true\ncontents") for p in MERGED[:2]), MERGED[2])


def test_locked_area_of_a_scenario_is_locked_and_its_fork_is_not() -> None:
    async def body(w: KernelWorld) -> None:
        assert mlocked(w, "A:0", "C:0") == [True, True]
        assert w.vma("A:0")._vm_flags & VM_LOCKED
        assert not w.vma("C:0")._vm_flags & VM_LOCKED

    fork = '[[process]]\nname = "C"\nforked_from = "A"\n'
    run(body, process("A", 1, "-", locked=True), fork)
