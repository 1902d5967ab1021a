# SPDX-License-Identifier: GPL-2.0-or-later
"""mremap: growing, shrinking and moving mappings; entries that a migration loses track of."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOMEM

import pytest

from ksmtrio.mm.mm_types import VM_MERGEABLE
from ksmtrio.mm.mremap import MREMAP_FIXED, MREMAP_MAYMOVE, sys_mremap
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE, PAGES_PER_PTE_TABLE, TASK_SIZE, Vaddr
from tests.kernel_world import KernelWorld, ksm, machine, process, run, turns, vma
from tests.swap_world import swap_out, swap_to_cache, with_device

FAR: Vaddr = 0x40000000
ORDINARY = process("A", 1, 2, 3, "-")
TWO_AREAS = "\n".join([process("A", 1, 2), vma([3, 4, 5])])
MERGED = (
    machine(pages_per_block=16),
    ksm(["A:0", "B:0"]),
    process("A", 7, 1, mergeable=True, block=1),
    process("B", 7, 2, mergeable=True, block=1),
)


async def mremap(
    w: KernelWorld, ref: str, old: int, new: int, flags: int = MREMAP_MAYMOVE, to: Vaddr = 0
) -> int:
    """Call mremap with lengths in pages; on success the pages keep their numbers."""
    mm, start = w.mm(ref[0]), w.address(ref)
    ret = await sys_mremap(w.g, mm, start, old * PAGE_SIZE, new * PAGE_SIZE, flags, to)
    if ret > 0:
        addresses = w.machine.addresses[ref[0]]
        first = addresses.index(start)
        for offset in range(min(old, new)):
            addresses[first + offset] = ret + offset * PAGE_SIZE
    return ret


async def move(w: KernelWorld, ref: str, pages: int, to: Vaddr = FAR) -> int:
    """Move pages to a fixed address."""
    return await mremap(w, ref, pages, pages, MREMAP_MAYMOVE | MREMAP_FIXED, to)


def test_moved_pages_keep_frames_and_contents() -> None:
    async def body(w: KernelWorld) -> None:
        old, frames = w.address("A:0"), w.frames("A")
        anon_vma = w.vma("A:0").anon_vma.value
        assert await move(w, "A:0", 4) == FAR
        assert w.frames("A") == frames
        assert w.mm("A").pte(old).value.none
        assert w.vma("A:0").anon_vma.value is anon_vma
        assert w.vma("A:0").linear_page_index(FAR) == w.page("A:0").index.value
        assert await w.load("A:1") == (0, 2)
        assert await w.store("A:3", 9) == 0

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, 9]


def test_middle_of_an_area_can_be_moved() -> None:
    async def body(w: KernelWorld) -> None:
        assert await move(w, "A:1", 1) == FAR
        assert len([v for v in w.mm("A")._vmas if v.anon_vma.value is not None]) == 3

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, None]


def test_entries_move_between_page_tables() -> None:
    async def body(w: KernelWorld) -> None:
        to = FAR + (PAGES_PER_PTE_TABLE - 1) * PAGE_SIZE
        assert await move(w, "A:0", 3, to) == to

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, None]


def test_area_grows_in_place_where_there_is_room() -> None:
    async def body(w: KernelWorld) -> None:
        start = w.address("A:0")
        assert await mremap(w, "A:0", 4, 6, 0) == start
        assert w.vma("A:0")._vm_end == start + 6 * PAGE_SIZE

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, None]


def test_area_that_cannot_grow_in_place_moves_if_it_may() -> None:
    async def body(w: KernelWorld) -> None:
        room = (w.address("A:2") - w.address("A:0")) // PAGE_SIZE
        assert await mremap(w, "A:0", 2, room + 1, 0) == -ENOMEM
        moved = await mremap(w, "A:0", 2, room + 1)
        assert moved > w.address("A:4")
        assert w.vma("A:0")._vm_end == moved + (room + 1) * PAGE_SIZE

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 4, 5]


def test_shrinking_unmaps_the_tail() -> None:
    async def body(w: KernelWorld) -> None:
        assert await mremap(w, "A:0", 4, 1, 0) == w.address("A:0")

    assert run(body, ORDINARY).contents("A") == [1, None, None, None]


def test_moving_to_a_place_in_use_unmaps_what_is_there() -> None:
    async def body(w: KernelWorld) -> None:
        assert await move(w, "A:0", 2, w.address("A:3")) > 0
        assert await w.load("A:0") == (0, 1)

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 1, 2]


def test_old_length_of_zero_makes_an_empty_mapping() -> None:
    async def body(w: KernelWorld) -> None:
        start = await mremap(w, "A:0", 0, 2)
        assert start > 0
        assert w.mm("A").pte(start).value.none

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, None]


@pytest.mark.parametrize(
    ("offset", "old", "new", "flags", "to", "errno"),
    [
        (0, 4, 4, 8, 0, EINVAL),  # unknown flag
        (1, 4, 4, 1, 0, EINVAL),  # unaligned address
        (0, 4, 0, 1, 0, EINVAL),  # no length
        (0, 4, 4, 2, FAR, EINVAL),  # FIXED without MAYMOVE
        (0, 4, 4, 3, FAR + 1, EINVAL),  # unaligned target
        (0, 4, 4, 3, TASK_SIZE - PAGE_SIZE, EINVAL),  # target out of range
        (0, 4, 4, 3, 0x102000, EINVAL),  # target inside the old range
        (0, 4, 4, 3, 0xFE000, EINVAL),  # target ends inside the old range
        (0, 5, 6, 1, 0, EFAULT),  # old range leaves the area
        (-PAGE_SIZE, 1, 2, 1, 0, EFAULT),  # nothing mapped there
        (0, 4, TASK_SIZE // PAGE_SIZE, 1, 0, ENOMEM),
        (0, 4, (1 << 64) // PAGE_SIZE, 1, 0, EINVAL),  # the length wraps around
    ],
)
def test_bad_arguments_get_the_kernels_errno(
    offset: int, old: int, new: int, flags: int, to: Vaddr, errno: int
) -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0") + offset
        old_len, new_len = old * PAGE_SIZE, new * PAGE_SIZE
        assert await sys_mremap(w.g, mm, start, old_len, new_len, flags, to) == -errno

    assert run(body, ORDINARY).contents("A") == [1, 2, 3, None]


@pytest.mark.parametrize("attempt", [0, 1])
def test_move_without_memory_leaves_everything_in_its_place(attempt: int) -> None:
    """No memory for the new area, or for the page table of its second half."""

    async def body(w: KernelWorld) -> None:
        to = FAR + (PAGES_PER_PTE_TABLE - 2) * PAGE_SIZE
        areas = len(w.mm("A")._vmas)
        assert await move(w, "A:0", 4, to) == -ENOMEM
        assert len(w.mm("A")._vmas) == areas
        assert await w.load("A:2") == (0, 3)

    faults = [0] * 2 * attempt + [1]
    w = run(body, ORDINARY, faults=["enomem"], choices=Choices(faults=faults))
    assert w.contents("A") == [1, 2, 3, None]


def test_ksm_pages_are_broken_first_and_the_area_stays_mergeable() -> None:
    async def body(w: KernelWorld) -> None:
        assert await move(w, "A:0", 2) == FAR
        assert w.shot("A").ksm == "pp"  # type: ignore[union-attr]
        assert w.vma("A:0")._vm_flags & VM_MERGEABLE
        await w.scan(3)
        assert w.shot("A").ksm == "Kp"  # type: ignore[union-attr]

    assert run(body, *MERGED).contents("A") == [7, 1]


def test_swap_entries_move_as_they_are() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        entry = w.pte("A:0")
        await move(w, "A:0", 4)
        assert w.pte("A:0") == entry
        assert w.g.swap._swap_map[entry.pfn] & ~SWAP_HAS_CACHE == 1
        assert await w.load("A:0") == (0, 1)

    with_device(body, ORDINARY)


def test_swapped_out_ksm_page_surfaces_as_one_at_the_new_address() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        await move(w, "A:0", 2)
        assert await w.load("A:0") == (0, 7)
        assert w.shot("A").ksm[0] == "K"  # type: ignore[union-attr]
        await w.scan(2)

    with_device(body, ksm(["A:0", "B:0"]), *(p.replace("block = 1", "") for p in MERGED[2:]))


# -- races with migration --------------------------------------------------------------------------


def moved_during_an_offline(*parts: str, schedule: tuple[str, ...], kernel: str) -> KernelWorld:
    """Take block 1 offline while A moves its first page and then looks at it."""

    async def hotplug(w: KernelWorld) -> None:
        w.log.append(await w.offline(1))

    async def mover(w: KernelWorld) -> None:
        assert await move(w, "A:0", 1) == FAR
        w.log.append(w.pte("A:0").kind)
        await w.rt.cond_resched("mover.1")
        w.log.append(await w.load("A:0"))

    actors = ("hotplug", "mover")
    w = KernelWorld(*parts, actors=actors, kernel=kernel, strategy=turns(*schedule))
    return w.go(hotplug, mover)


L2B = ("hotplug@move_to_new_page.2", "mover@mover.1", "hotplug@unmap_and_move.2", "mover")
"""A moves the migration entry; the walk that puts the page back looks at the old place only."""


def test_l2b_moved_migration_entry_of_a_ksm_page_outlives_the_page_lock() -> None:
    w = moved_during_an_offline(*MERGED, schedule=L2B, kernel="v2.6.33")
    assert w.log[:1] == ["migration"]
    assert w.found == ["page_state:migration-entry-left", "bugs:BUG_ON"]
    assert [f.point for f in w.findings.all()] == ["unmap_and_move.17", "migration_entry_wait.3"]


def test_l2b_does_not_happen_when_break_ksm_waits_for_the_migration() -> None:
    w = moved_during_an_offline(*MERGED, schedule=L2B, kernel="latest-fixes")
    assert w.found == []
    assert "migration" not in w.log


WALK = ("hotplug@rmap_walk_anon.2", "mover@move_ptes.4.3", "hotplug", "mover")
"""The entry is neither here nor there: cleared at the old address, not yet set at the new one."""


def test_lockless_look_misses_an_entry_that_moves_between_the_two_looks() -> None:
    """An ordinary page: both areas are on the list, and both looks come at the wrong moment."""
    w = moved_during_an_offline(process("A", 7, block=1), schedule=WALK, kernel="v2.6.33")
    assert "migration" in w.log
    assert w.found == ["page_state:migration-entry-of-unlocked-page", "bugs:BUG_ON"]


def test_entry_on_the_move_is_found_when_the_look_takes_the_lock() -> None:
    w = moved_during_an_offline(process("A", 7, block=1), schedule=WALK, kernel="latest-fixes")
    assert w.found == []
    assert w.log[-1] == (0, 7)


def test_entry_of_an_ordinary_page_that_moved_in_time_is_found_at_the_new_address() -> None:
    schedule = ("hotplug@move_to_new_page.2", "mover@mover.1", "hotplug")
    w = moved_during_an_offline(process("A", 7, block=1), schedule=schedule, kernel="v2.6.33")
    assert w.found == []
    assert w.log == ["migration", 0, (0, 7)]
