# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse maps of ordinary anonymous pages: from a page to its ptes, and how entries change."""

from __future__ import annotations

from ksmtrio.mm.migrate import remove_migration_ptes
from ksmtrio.mm.mm_types import Page, Pte, Vma
from ksmtrio.mm.page_flags import PG_DIRTY
from ksmtrio.mm.rmap import (
    SWAP_AGAIN,
    TTU_IGNORE_ACCESS,
    TTU_IGNORE_MLOCK,
    TTU_MIGRATION,
    anon_vma_prepare,
    anon_vma_unlink,
    page_add_anon_rmap,
    page_check_address,
    page_lock_anon_vma,
    page_unlock_anon_vma,
    rmap_walk_anon,
    try_to_unmap_anon,
)
from ksmtrio.mm.swap import get_page, put_page
from tests.kernel_world import AT, KernelWorld, ksm, process, run, turns

MIGRATE = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS


async def unmapped(w: KernelWorld, ref: str) -> Page:
    """Lock a page, hold it, and replace its pte by a migration entry."""
    page = w.page(ref)
    await get_page(page, AT)
    await page.page_lock.lock(AT)
    assert await try_to_unmap_anon(w.g, page, MIGRATE) == SWAP_AGAIN
    return page


async def mapped_again(w: KernelWorld, page: Page) -> None:
    """Undo `unmapped`."""
    await remove_migration_ptes(w.g, page, page)
    await page.page_lock.unlock(AT)
    await put_page(w.g, page, AT)


def test_area_gets_its_anon_vma_once() -> None:
    async def body(w: KernelWorld) -> None:
        vma = w.vma("A:0")
        await w.mm("A").mmap_sem.down_read(AT)
        assert vma.anon_vma.value is None
        assert await anon_vma_prepare(w.g, vma, AT) == 0
        first = vma.anon_vma.value
        assert first is not None
        assert first._head == [vma]
        await anon_vma_prepare(w.g, vma, AT)
        assert vma.anon_vma.value is first
        await w.mm("A").mmap_sem.up_read(AT)

    run(body, process("A", "-"))


def test_two_threads_that_fault_at_once_share_one_anon_vma() -> None:
    async def toucher(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_read(AT)
        await anon_vma_prepare(w.g, w.vma("A:0"), f"{AT}.{w.rt.me.name}")
        await w.mm("A").mmap_sem.up_read(AT)

    schedule = turns("one@test.one#2", "two@test.two#2", "one", "two")
    w = KernelWorld(process("A", "-"), actors=("one", "two"), strategy=schedule)
    assert w.go(toucher, toucher).found == []
    anon_vma = w.vma("A:0").anon_vma.value
    assert anon_vma is not None
    assert anon_vma._head == [w.vma("A:0")]
    assert [a.dead is None for a in w.g.anon_vmas] == [a is anon_vma for a in w.g.anon_vmas]


def test_last_area_frees_the_anon_vma_unless_ksm_holds_it() -> None:
    async def body(w: KernelWorld) -> None:
        for ref in ("A:0", "B:0"):
            await w.mm(ref[0]).mmap_sem.down_write(AT)
            await anon_vma_unlink(w.vma(ref), AT)
            await w.mm(ref[0]).mmap_sem.up_write(AT)
        plain, held = w.g.anon_vmas
        assert plain.dead is not None
        assert held.dead is None

    parts = (ksm(["B:0", "B:1"]), process("A", 1), process("B", 7, 7, mergeable=True))
    KernelWorld(*parts).go(body, rest=False)


def test_check_address_takes_the_lock_only_where_the_page_is_mapped() -> None:
    async def body(w: KernelWorld) -> None:
        mm, page = w.mm("A"), w.page("A:0")
        found = await page_check_address(page, mm, w.address("A:0"), AT)
        assert found is not None
        cell, ptl = found
        assert cell is mm.pte(w.address("A:0"))
        assert ptl.held_by(w.rt.me)
        ptl.unlock(AT)
        assert await page_check_address(page, mm, w.address("A:1"), AT) is None
        assert await page_check_address(page, mm, w.address("A:2"), AT) is None
        assert not w.rt.me.held

    run(body, process("A", 1, 2, "-"))


def test_check_address_misses_a_pte_that_is_cleared_for_a_moment() -> None:
    async def body(w: KernelWorld) -> None:
        cell = w.mm("A").pte(w.address("A:0"))
        old = cell.value
        cell.value = Pte("none")
        assert await page_check_address(w.g.pages[old.pfn], w.mm("A"), w.address("A:0"), AT) is None
        cell.value = old

    run(body, process("A", 1))


def test_unmapping_leaves_a_migration_entry_of_the_write_kind() -> None:
    async def body(w: KernelWorld) -> None:
        page = await unmapped(w, "A:0")
        assert w.pte("A:0") == Pte("migration", page.pfn, write=True)
        assert page.mapcount.value == -1
        assert page.count.value == 1
        assert page.flags.has(PG_DIRTY)
        await mapped_again(w, page)
        assert w.pte("A:0") == Pte("present", page.pfn, write=True)
        assert page.mapcount.value == 0
        assert page.count.value == 1

    run(body, process("A", 1))


def test_unmapping_a_read_only_pte_leaves_an_entry_of_the_read_kind() -> None:
    async def body(w: KernelWorld) -> None:
        page = await unmapped(w, "A:0")
        assert w.pte("A:0") == Pte("migration", page.pfn)
        await mapped_again(w, page)
        assert not w.pte("A:0").write

    run(body, process("A", 1, pte="ro"))


def test_walk_visits_the_one_address_at_which_the_page_may_be() -> None:
    async def body(w: KernelWorld) -> None:
        page = await unmapped(w, "A:1")

        async def action(page: Page, vma: Vma, address: int) -> int:
            w.log.append((page.pfn, vma.name, address))
            return SWAP_AGAIN

        await rmap_walk_anon(page, action)
        assert w.log == [(page.pfn, w.vma("A:1").name, w.address("A:1"))]
        await mapped_again(w, page)

    run(body, process("A", 1, 2, 3))


def test_anon_vma_is_locked_only_for_a_mapped_ordinary_page() -> None:
    async def body(w: KernelWorld) -> None:
        anon_vma = await page_lock_anon_vma(w.g, w.page("A:0"), AT)
        assert anon_vma is w.vma("A:0").anon_vma.value
        assert w.rt.me.rcu_depth == 1
        assert anon_vma is not None
        page_unlock_anon_vma(w.g, anon_vma, AT)
        for page in (w.page("B:0"), w.g.pages[7]):
            assert await page_lock_anon_vma(w.g, page, AT) is None
        assert w.rt.me.rcu_depth == 0
        assert not w.rt.me.held

    run(body, ksm(["B:0", "B:1"]), process("A", 1), process("B", 7, 7, mergeable=True))


def test_mapping_an_ordinary_page_again_needs_its_lock() -> None:
    async def body(w: KernelWorld) -> None:
        await page_add_anon_rmap(w.page("A:0"), w.vma("A:0"), w.address("A:0"), AT)

    assert KernelWorld(process("A", 1)).go(body).found == ["bugs:VM_BUG_ON"]


def test_mapping_a_ksm_page_again_needs_no_lock_and_leaves_its_word() -> None:
    async def body(w: KernelWorld) -> None:
        page, vma = w.page("A:0"), w.vma("A:0")
        word = page.mapping.value
        await get_page(page, AT)
        await page_add_anon_rmap(page, vma, w.address("A:0"), AT)
        assert page.mapcount.value == 2
        assert page.mapping.value is word
        await page.mapcount.dec(AT)
        await put_page(w.g, page, AT)

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
