# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces: finding and splitting areas, munmap, exit."""

from __future__ import annotations

from errno import EBADF, EFAULT, EINVAL, ENOMEM

import pytest

from ksmtrio.mm.mm_types import VM_MERGEABLE
from ksmtrio.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MMAP_BASE,
    PROT_READ,
    PROT_WRITE,
    find_vma,
    split_to_range,
    split_vma,
    sys_mmap,
    sys_munmap,
    vma_at,
)
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE, TASK_SIZE
from tests.kernel_world import AT, KernelWorld, ksm, process, run, vma

TWO_AREAS = "\n".join([process("A", 1, 2), vma([3, 4, 5])])
MERGED = (
    ksm(["A:0", "B:0"]),
    process("A", 7, 1, mergeable=True),
    process("B", 7, 2, mergeable=True),
)


def test_find_vma_gives_the_first_area_that_ends_above_the_address() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await mm.mmap_sem.down_read(AT)
        low, high = w.vma("A:0"), w.vma("A:2")
        assert find_vma(mm, 0) is low
        assert find_vma(mm, w.address("A:1")) is low
        assert find_vma(mm, low.vm_end) is high
        assert find_vma(mm, high.vm_end) is None
        assert vma_at(mm, low.vm_end) is None
        assert vma_at(mm, w.address("A:2")) is high
        await mm.mmap_sem.up_read(AT)

    run(body, TWO_AREAS)


def test_split_shares_the_anon_vma_and_goes_on_counting_pages() -> None:
    async def body(w: KernelWorld) -> None:
        mm, lower = w.mm("A"), w.vma("A:2")
        await mm.mmap_sem.down_write(AT)
        upper = await split_vma(w.g, lower, w.address("A:3"))
        assert upper is not None
        assert upper.anon_vma.value is lower.anon_vma.value
        assert lower.anon_vma.value is not None
        assert lower.anon_vma.value._head == [lower, upper]
        assert (lower.vm_end, upper.vm_start) == (w.address("A:3"), w.address("A:3"))
        assert upper.linear_page_index(w.address("A:4")) == w.page("A:4").index.value
        assert mm.vmas == (w.vma("A:0"), lower, upper)
        await mm.mmap_sem.up_write(AT)

    run(body, TWO_AREAS)


def test_cutting_an_area_to_a_range_leaves_the_part_inside_it() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await mm.mmap_sem.down_write(AT)
        inside = await split_to_range(w.g, w.vma("A:3"), w.address("A:3"), w.address("A:4"))
        assert inside is w.vma("A:3")
        assert (inside.vm_start, inside.vm_end) == (w.address("A:3"), w.address("A:4"))
        assert await split_to_range(w.g, inside, 0, inside.vm_end) is inside
        assert len(mm.vmas) == 4
        await mm.mmap_sem.up_write(AT)

    run(body, TWO_AREAS)


def test_munmap_of_the_middle_leaves_both_ends() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.munmap("A:3", 1) == 0
        assert len(w.mm("A")._vmas) == 3

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, None, 5]


def test_munmap_frees_the_pages_and_the_areas() -> None:
    async def body(w: KernelWorld) -> None:
        area, anon_vma = w.vma("A:0"), w.vma("A:0").anon_vma.value
        assert await w.munmap("A:0", 2) == 0
        assert area.dead is not None
        assert anon_vma is not None
        assert anon_vma.dead is not None
        assert [page.count.value for page in w.g.pages.values()][:2] == [0, 0]

    run(body, TWO_AREAS)


def test_munmap_of_a_hole_does_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("A:0", 2)
        assert await w.munmap("A:0", 2) == 0

    assert run(body, TWO_AREAS).contents("A") == [None, None, 3, 4, 5]


def test_last_unmapping_of_a_ksm_page_leaves_a_stale_node() -> None:
    async def body(w: KernelWorld) -> None:
        node, pfn = w.node("A:0"), w.page("A:0").pfn
        await w.munmap("A:0", 1)
        await w.munmap("B:0", 1)
        assert w.g.pages[pfn].count.value == 0
        assert w.ksm._stable_root == [node]
        assert len(node._hlist) == 2
        assert w.counters() == (1, 1, 0, 0)

    run(body, *MERGED)


def test_anon_vma_outlives_its_area_while_an_rmap_item_holds_it() -> None:
    async def body(w: KernelWorld) -> None:
        anon_vma = w.vma("A:0").anon_vma.value
        assert anon_vma is not None
        await w.munmap("A:0", 2)
        assert anon_vma.dead is None
        await w.scan()
        assert anon_vma.dead is not None

    run(body, *MERGED)


def test_exit_empties_the_address_space() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.exit("A")
        assert mm.mm_users.value == 0
        assert mm._vmas == ()
        assert mm.dead is not None

    w = run(body, TWO_AREAS)
    assert all(page.count.value == 0 for page in w.g.pages.values())


def test_exited_mm_survives_until_ksmd_has_forgotten_it() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.exit("A")
        assert mm.dead is None
        assert mm.mm_count.value == 1
        await w.scan()
        assert mm.dead is not None
        assert [slot.mm for slot in w.ksm._mm_list] == [w.mm("B")]

    assert run(body, *MERGED).contents("B") == [7, 2]


def test_exit_of_one_thread_leaves_the_address_space_to_the_others() -> None:
    async def body(w: KernelWorld) -> None:
        w.mm("A").mm_users.value = 2
        await w.exit("A")
        assert w.mm("A")._vmas

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 4, 5]


def test_split_keeps_the_flags() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("A:0", 1)
        assert w.vma("A:1")._vm_flags & VM_MERGEABLE

    run(body, *MERGED)


# -- mmap(2), munmap(2) ----------------------------------------------------------------------------

ANYWHERE = MAP_PRIVATE | MAP_ANONYMOUS
RW = PROT_READ | PROT_WRITE


def test_new_mapping_is_zero_and_takes_stores() -> None:
    async def body(w: KernelWorld) -> None:
        start = await sys_mmap(w.g, w.mm("A"), 0, 2 * PAGE_SIZE, RW, ANYWHERE)
        w.machine.addresses["A"] += [start, start + PAGE_SIZE]
        assert await w.load("A:5") == (0, 0)
        assert await w.store("A:6", 8) == 0

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 4, 5, 0, 8]


def test_mapping_goes_where_it_is_asked_to_unless_something_is_there() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        free = start - 4 * PAGE_SIZE
        assert await sys_mmap(w.g, mm, free + 1, PAGE_SIZE, RW, ANYWHERE) == free
        elsewhere = await sys_mmap(w.g, mm, start, PAGE_SIZE, RW, ANYWHERE)
        assert elsewhere == MMAP_BASE
        assert await sys_mmap(w.g, mm, 0, PAGE_SIZE, RW, ANYWHERE) == MMAP_BASE + PAGE_SIZE
        assert await sys_munmap(w.g, mm, MMAP_BASE, PAGE_SIZE) == 0
        assert await sys_mmap(w.g, mm, 0, PAGE_SIZE, RW, ANYWHERE) == MMAP_BASE
        assert sorted(mm._vmas, key=lambda vma: vma._vm_start) == list(mm._vmas)

    run(body, TWO_AREAS)


def test_fixed_mapping_replaces_what_is_there() -> None:
    async def body(w: KernelWorld) -> None:
        start = w.address("A:3")
        flags = ANYWHERE | MAP_FIXED
        assert await sys_mmap(w.g, w.mm("A"), start, PAGE_SIZE, PROT_READ, flags) == start
        assert await w.load("A:3") == (0, 0)
        assert await w.store("A:3", 1) == -EFAULT

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 0, 5]


@pytest.mark.parametrize(
    ("addr", "length", "flags", "errno"),
    [
        (0, 0, ANYWHERE, EINVAL),
        (0, PAGE_SIZE, MAP_PRIVATE, EBADF),  # a file
        (0, PAGE_SIZE, MAP_ANONYMOUS, EINVAL),  # neither private nor shared
        (0, PAGE_SIZE, ANYWHERE | MAP_SHARED, EINVAL),  # both
        (0, TASK_SIZE + 1, ANYWHERE, ENOMEM),
        (0, (1 << 64) - 1, ANYWHERE, ENOMEM),  # wraps to 0
        (1, PAGE_SIZE, ANYWHERE | MAP_FIXED, EINVAL),
        (TASK_SIZE, PAGE_SIZE, ANYWHERE | MAP_FIXED, ENOMEM),
        (0, TASK_SIZE - PAGE_SIZE, ANYWHERE, ENOMEM),  # no range is so long
    ],
)
def test_mmap_refuses_bad_arguments(addr: int, length: int, flags: int, errno: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_mmap(w.g, w.mm("A"), addr, length, RW, flags) == -errno

    run(body, TWO_AREAS)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (1, PAGE_SIZE),
        (0, 0),
        (0, (1 << 64) - 1),
        (TASK_SIZE, PAGE_SIZE),
        (0, TASK_SIZE),
    ],
)
def test_munmap_refuses_bad_arguments(offset: int, length: int) -> None:
    async def body(w: KernelWorld) -> None:
        start = w.address("A:0") + offset
        assert await sys_munmap(w.g, w.mm("A"), start, length) == -EINVAL

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, 4, 5]


def test_length_of_munmap_is_rounded_up_to_pages() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_munmap(w.g, w.mm("A"), w.address("A:3"), 1) == 0

    assert run(body, TWO_AREAS).contents("A") == [1, 2, 3, None, 5]


@pytest.mark.parametrize("attempt", [0, 1])
def test_munmap_without_memory_for_a_split_unmaps_nothing(attempt: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.munmap("A:3", 1) == -ENOMEM

    choices = Choices(faults=[0] * attempt + [1])
    w = run(body, TWO_AREAS, faults=["enomem"], choices=choices)
    assert w.contents("A") == [1, 2, 3, 4, 5]


def test_shared_mapping_takes_no_advice_to_merge() -> None:
    async def body(w: KernelWorld) -> None:
        flags = MAP_SHARED | MAP_ANONYMOUS
        start = await sys_mmap(w.g, w.mm("A"), 0, PAGE_SIZE, RW, flags)
        w.machine.addresses["A"].append(start)
        assert await w.madvise("A:5", 1, mergeable=True) == 0
        assert not w.vma("A:5")._vm_flags & VM_MERGEABLE
        assert await w.store("A:5", 3) == 0

    assert run(body, TWO_AREAS).contents("A")[5] == 3
