# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces: finding and splitting areas, munmap, exit."""

from __future__ import annotations

from ksmtrio.mm.mm_types import VM_MERGEABLE
from ksmtrio.mm.mmap import find_vma, split_vma, vma_at, vmas_cut_to
from ksmtrio.units import PAGE_SIZE
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
        assert upper.anon_vma.value is lower.anon_vma.value
        assert lower.anon_vma.value is not None
        assert lower.anon_vma.value._head == [lower, upper]
        assert (lower.vm_end, upper.vm_start) == (w.address("A:3"), w.address("A:3"))
        assert upper.linear_page_index(w.address("A:4")) == w.page("A:4").index.value
        assert mm.vmas == (w.vma("A:0"), lower, upper)
        await mm.mmap_sem.up_write(AT)

    run(body, TWO_AREAS)


def test_cutting_a_range_leaves_whole_areas_inside_it() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await mm.mmap_sem.down_write(AT)
        inside = await vmas_cut_to(w.g, mm, w.address("A:1"), w.address("A:4"))
        assert [(v.vm_start, v.vm_end) for v in inside] == [
            (w.address("A:1"), w.address("A:1") + PAGE_SIZE),
            (w.address("A:2"), w.address("A:4")),
        ]
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
