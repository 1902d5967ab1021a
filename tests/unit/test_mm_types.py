# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages, ptes, areas and address spaces: encodings, predicates, and what guards which field."""

from __future__ import annotations

from ksmtrio.mm.mm_types import (
    KSM_NULL,
    MMF_VM_MERGEABLE,
    PTE_NONE,
    Pte,
    page_anon,
    page_anon_vma,
    page_ksm,
    page_mapcount,
    page_mapped,
    page_stable_node,
)
from ksmtrio.units import PAGE_SIZE, PAGES_PER_PTE_TABLE
from tests.kernel_world import AT, KernelWorld, ksm, process, run

MERGED = (ksm(["A:0", "A:1"]), process("A", 7, 7, 9, mergeable=True))


def test_ptes_are_the_same_only_if_every_bit_is() -> None:
    pte = Pte("present", 3, write=True, dirty=True, young=True)
    assert pte == Pte("present", 3, write=True, dirty=True, young=True)
    assert pte != pte._replace(young=False)
    assert pte != pte._replace(dirty=False)


def test_pte_kinds_exclude_each_other() -> None:
    for pte, kind in (
        (PTE_NONE, "none"),
        (Pte("present", 1), "present"),
        (Pte("migration", 1), "migration"),
    ):
        answers = {"none": pte.none, "present": pte.present, "migration": pte.migration}
        assert answers == {name: name == kind for name in answers}


def test_pte_shows_its_bits() -> None:
    assert str(PTE_NONE) == "none"
    assert str(Pte("present", 3)) == "present(pfn=3)"
    assert str(Pte("present", 3, write=True, dirty=True)) == "present(pfn=3,wd)"


def test_ksm_page_is_anonymous_and_has_a_node_instead_of_an_anon_vma() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await page_anon(page, AT)
        assert await page_ksm(page, AT)
        assert await page_anon_vma(page, AT) is None
        assert await page_stable_node(page, AT) is w.node("A:0")

    run(body, *MERGED)


def test_ordinary_page_has_an_anon_vma_and_no_node() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:2")
        assert await page_anon(page, AT)
        assert not await page_ksm(page, AT)
        assert await page_anon_vma(page, AT) is w.vma("A:2").anon_vma.value
        assert await page_stable_node(page, AT) is None

    run(body, *MERGED)


def test_free_page_is_neither_anonymous_nor_ksm() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.g.pages[7]
        assert not await page_anon(page, AT)
        assert not await page_ksm(page, AT)
        assert not await page_mapped(page, AT)

    run(body, *MERGED)


def test_upgraded_page_without_node_is_a_ksm_page() -> None:
    assert KSM_NULL.ksm
    assert KSM_NULL.target is None
    assert str(KSM_NULL) == "ksm:NULL"


def test_mapcount_counts_from_minus_one() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.page("A:0").mapcount.value == 1
        assert await page_mapcount(w.page("A:0"), AT) == 2
        assert await page_mapcount(w.g.pages[7], AT) == 0

    run(body, *MERGED)


def test_one_pte_lock_covers_a_page_table_page() -> None:
    w = KernelWorld(process("A", 1))
    mm, table = w.mm("A"), PAGES_PER_PTE_TABLE * PAGE_SIZE
    assert mm.ptl(0) is mm.ptl(table - PAGE_SIZE)
    assert mm.ptl(0) is not mm.ptl(table)


def test_index_and_address_are_each_others_inverse_inside_the_area() -> None:
    async def body(w: KernelWorld) -> None:
        vma, address = w.vma("A:1"), w.address("A:1")
        await w.mm("A").mmap_sem.down_read(AT)
        assert vma.address_of_index(vma.linear_page_index(address)) == address
        assert vma.address_of_index(vma.linear_page_index(address) + 2) is None
        await w.mm("A").mmap_sem.up_read(AT)

    run(body, *MERGED)


def test_reading_an_area_without_mmap_sem_is_a_finding() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.vma("A:0").vm_flags

    w = KernelWorld(*MERGED, guarded=False).go(body)
    assert w.found == ["locks:unguarded-access"]


def test_changing_an_area_under_mmap_sem_for_read_is_a_finding() -> None:
    async def body(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_read(AT)
        vma = w.vma("A:0")
        vma.vm_flags = vma.vm_flags
        await w.mm("A").mmap_sem.up_read(AT)

    w = KernelWorld(*MERGED, guarded=False).go(body)
    assert w.found == ["locks:unguarded-access"]


def test_rmap_walks_may_read_the_bounds_of_areas_under_the_anon_vma_lock() -> None:
    async def body(w: KernelWorld) -> None:
        vma = w.vma("A:0")
        anon_vma = vma.anon_vma.value
        assert anon_vma is not None
        await anon_vma.lock.lock(AT)
        assert anon_vma.head == [vma]
        assert vma.vm_start == w.address("A:0")
        anon_vma.lock.unlock(AT)

    run(body, *MERGED)


def test_list_of_areas_of_an_anon_vma_is_guarded_by_its_lock() -> None:
    async def body(w: KernelWorld) -> None:
        anon_vma = w.vma("A:0").anon_vma.value
        assert anon_vma is not None
        assert anon_vma.head

    w = KernelWorld(*MERGED, guarded=False).go(body)
    assert w.found == ["locks:unguarded-access"]


def test_names_are_those_of_the_kernel() -> None:
    w = KernelWorld(*MERGED)
    assert w.page("A:0").name == "page(pfn=0)"
    assert w.page("A:0").page_lock.name == "page_lock(page(pfn=0))"
    assert w.mm("A").mmap_sem.name == "mm(A).mmap_sem"
    assert w.mm("A").flags.names == {MMF_VM_MERGEABLE: "MMF_VM_MERGEABLE"}
