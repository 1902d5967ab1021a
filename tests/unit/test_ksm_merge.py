# SPDX-License-Identifier: GPL-2.0-or-later
"""Merging two pages, and undoing it: write protection, replacement, break_ksm, break_cow."""

from __future__ import annotations

from errno import EFAULT, ENOMEM

import pytest

from ksmtrio.mm.ksm_merge import (
    break_cow,
    break_ksm,
    replace_page,
    try_to_merge_one_page,
    try_to_merge_with_ksm_page,
    unmerge_ksm_pages,
    write_protect_page,
)
from ksmtrio.mm.ksm_tree import hold_anon_vma
from ksmtrio.mm.ksm_types import RmapItem
from ksmtrio.mm.mlock_page import mlock_vma_page
from ksmtrio.mm.mm_types import KSM_NULL, VM_LOCKED, VM_MERGEABLE, Page, Pte
from ksmtrio.mm.page_flags import PG_MLOCKED
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, Log, ksm, process, run, turns

MERGED = (
    ksm(["A:0", "A:1"]),
    process("A", 7, 7, mergeable=True),
    process("B", 7, 9, mergeable=True, checksum=True),
)


async def protect(w: KernelWorld, ref: str) -> Pte | None:
    """Call write_protect_page as try_to_merge_one_page does, with ksmd's own reference."""
    page = w.page(ref)
    await get_page(page, AT)
    await w.mm(ref[0]).mmap_sem.down_read(AT)
    assert await page.page_lock.trylock(AT)
    pte = await write_protect_page(w.g, w.vma(ref), page)
    await page.page_lock.unlock(AT)
    await w.mm(ref[0]).mmap_sem.up_read(AT)
    await put_page(w.g, page, AT)
    return pte


async def merge_one(w: KernelWorld, ref: str, into: str | None) -> int:
    """Call try_to_merge_one_page with the references that ksmd holds."""
    page, kpage = w.page(ref), None if into is None else w.page(into)
    await get_page(page, AT)
    await w.mm(ref[0]).mmap_sem.down_read(AT)
    err = await try_to_merge_one_page(w.g, w.vma(ref), page, kpage)
    await w.mm(ref[0]).mmap_sem.up_read(AT)
    await put_page(w.g, page, AT)
    return err


def test_write_protection_takes_the_write_bit_and_keeps_the_others() -> None:
    async def body(w: KernelWorld) -> None:
        before = w.pte("A:0")
        assert before.write
        pte = await protect(w, "A:0")
        assert pte == w.pte("A:0") == before._replace(write=False)

    run(body, process("A", 1, mergeable=True))


def test_writable_page_with_an_extra_reference_is_left_alone() -> None:
    async def body(w: KernelWorld) -> None:
        before = w.pte("A:0")
        await get_page(w.page("A:0"), AT)
        assert await protect(w, "A:0") is None
        assert w.pte("A:0") == before
        await put_page(w.g, w.page("A:0"), AT)

    run(body, process("A", 1, mergeable=True))


def test_reference_count_is_not_looked_at_when_the_pte_is_read_only_already() -> None:
    async def body(w: KernelWorld) -> None:
        await get_page(w.page("A:0"), AT)
        assert await protect(w, "A:0") == w.pte("A:0")
        await put_page(w.g, w.page("A:0"), AT)

    run(body, process("A", 1, mergeable=True, pte="ro"))


def test_ksm_page_is_never_write_protected_again() -> None:
    async def body(w: KernelWorld) -> None:
        assert await protect(w, "A:0") is None

    run(body, *MERGED)


def test_bits_that_a_user_access_sets_before_the_clearing_are_kept() -> None:
    async def protector(w: KernelWorld) -> None:
        w.log.append(await protect(w, "A:0"))

    async def user(w: KernelWorld) -> None:
        await w.store("A:0", 2)

    def clean(w: KernelWorld) -> KernelWorld:
        cell = w.mm("A").pte(w.address("A:0"))
        cell.value = cell.value._replace(dirty=False, young=False)
        return w

    schedule = turns("protector@write_protect_page.5", "user", "protector")
    w = KernelWorld(
        process("A", 1, mergeable=True), actors=("protector", "user"), strategy=schedule
    )
    assert clean(w).go(protector, user).found == []
    assert w.log == [w.pte("A:0")]
    assert w.pte("A:0").dirty
    assert w.pte("A:0").young
    assert not w.pte("A:0").write


def test_read_between_protection_and_replacement_foils_the_replacement() -> None:
    async def merger(w: KernelWorld) -> None:
        w.log.append(await merge_one(w, "B:0", "A:0"))

    async def user(w: KernelWorld) -> None:
        await w.load("B:0")

    schedule = turns("merger@replace_page.1", "user", "merger")
    w = KernelWorld(*MERGED, actors=("merger", "user"), strategy=schedule)
    cell = w.mm("B").pte(w.address("B:0"))
    cell.value = cell.value._replace(young=False)
    assert w.go(merger, user).found == []
    assert w.log == [-EFAULT]
    assert w.page("B:0") is not w.page("A:0")


def test_replacement_moves_the_mapping_to_the_ksm_page() -> None:
    async def body(w: KernelWorld) -> None:
        old, kpage = w.page("B:0"), w.page("A:0")
        assert await merge_one(w, "B:0", "A:0") == 0
        assert w.page("B:0") is kpage
        assert w.pte("B:0") == Pte("present", kpage.pfn, young=True)
        assert kpage.mapcount.value == 2
        assert kpage.count.value == 3
        assert old.count.value == 0

    w = KernelWorld(*MERGED).go(body)
    assert w.found == ["rmap:unfindable-ksm-mapping"]  # the item comes with stable_tree_append


def test_replacement_refuses_a_pte_that_changed() -> None:
    async def body(w: KernelWorld) -> None:
        page, kpage, vma = w.page("B:0"), w.page("A:0"), w.vma("B:0")
        await w.mm("B").mmap_sem.down_read(AT)
        await page.page_lock.lock(AT)
        stale = w.pte("B:0")._replace(young=False)
        assert await replace_page(w.g, vma, page, kpage, stale) == -EFAULT
        assert w.page("B:0") is page
        await page.page_lock.unlock(AT)
        await w.mm("B").mmap_sem.up_read(AT)

    run(body, *MERGED)


def test_different_content_is_not_merged_but_stays_write_protected() -> None:
    async def body(w: KernelWorld) -> None:
        assert await merge_one(w, "B:1", "A:0") == -EFAULT
        assert not w.pte("B:1").write

    assert run(body, *MERGED).contents("B") == [7, 9]


def test_page_without_partner_is_upgraded_in_place() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:0")
        assert await merge_one(w, "B:0", None) == 0
        assert w.page("B:0") is page
        assert page.mapping.value is KSM_NULL

    w = KernelWorld(*MERGED).go(body)
    assert w.found == ["stable_tree:ksm-page-without-node"]


def test_ksm_page_merges_with_itself_without_being_touched() -> None:
    async def body(w: KernelWorld) -> None:
        before = w.pte("A:0")
        assert await merge_one(w, "A:0", "A:1") == 0
        assert w.pte("A:0") == before

    run(body, *MERGED)


def test_locked_page_is_not_waited_for() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:0")
        await page.page_lock.lock(AT)
        assert await merge_one(w, "B:0", "A:0") == -EFAULT
        await page.page_lock.unlock(AT)

    run(body, *MERGED)


def test_area_that_lost_its_flag_is_not_merged() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("B:0")._vm_flags &= ~VM_MERGEABLE
        assert await merge_one(w, "B:0", "A:0") == -EFAULT
        assert w.pte("B:0").write

    run(body, *MERGED)


@pytest.mark.parametrize("gone", ["exit", "munmap"])
def test_address_that_is_gone_is_not_merged(gone: str) -> None:
    async def body(w: KernelWorld) -> None:
        item, page, kpage = w.item("B:0"), w.page("B:0"), w.page("A:0")
        await get_page(page, AT)
        if gone == "exit":
            await w.exit("B")
        else:
            await w.munmap("B:0", 1)
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await try_to_merge_with_ksm_page(w.g, item, page, kpage) == -EFAULT
        await w.ksm.ksm_thread_mutex.unlock(AT)
        await put_page(w.g, page, AT)

    run(body, *MERGED)


def test_merging_pins_the_anon_vma_of_the_area() -> None:
    async def body(w: KernelWorld) -> None:
        item, page = w.item("B:0"), w.page("B:0")
        anon_vma = w.vma("B:0").anon_vma.value
        assert anon_vma is not None
        await get_page(page, AT)
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await try_to_merge_with_ksm_page(w.g, item, page, w.page("A:0")) == 0
        assert item.anon_vma is anon_vma
        assert anon_vma.ksm_refcount.value == 1
        await put_page(w.g, page, AT)
        await break_cow(w.g, item)
        assert anon_vma.ksm_refcount.value == 0
        await w.ksm.ksm_thread_mutex.unlock(AT)
        assert w.page("B:0") is not w.page("A:0")

    assert run(body, *MERGED).contents("B") == [7, 9]


def test_area_without_anon_vma_cannot_be_held() -> None:
    """A real defect of the time: a ksm page merges with itself whatever the area is now."""

    async def body(w: KernelWorld) -> None:
        item, page = w.item("A:0"), w.page("A:0")
        w.vma("A:0").anon_vma.value = None
        await w.ksm.ksm_thread_mutex.lock(AT)
        await try_to_merge_with_ksm_page(w.g, item, page, page)

    assert KernelWorld(*MERGED).go(body).found == ["bugs:null-dereference"]


async def broken(w: KernelWorld, ref: str) -> int:
    """Call break_ksm under mmap_sem."""
    await w.mm(ref[0]).mmap_sem.down_read(AT)
    err = await break_ksm(w.g, w.vma(ref), w.address(ref))
    await w.mm(ref[0]).mmap_sem.up_read(AT)
    return err


def test_breaking_gives_the_address_a_private_copy() -> None:
    async def body(w: KernelWorld) -> None:
        kpage = w.page("A:0")
        assert await broken(w, "A:0") == 0
        assert w.page("A:0") is not kpage
        assert w.page("A:1") is kpage

    assert run(body, *MERGED).contents("A") == [7, 7]


def test_breaking_leaves_ordinary_and_missing_pages_alone() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("B:1")
        assert await broken(w, "B:1") == 0
        assert w.page("B:1") is page
        await w.load("C:0")
        for ref in ("C:0", "C:1"):
            before = w.pte(ref)
            assert await broken(w, ref) == 0
            assert w.pte(ref) == before

    run(body, *MERGED, process("C", "-", "-", mergeable=True))


def test_breaking_passes_over_a_migration_entry() -> None:
    """A real defect of the time: the KSM page comes back into an area that is not mergeable."""

    async def mover(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def adviser(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 1, mergeable=False) == 0
        w.log.append(w.pte("A:0").kind)

    schedule = turns("mover@move_to_new_page.1", "adviser", "mover")
    parts = (ksm(["A:0", "B:0"]), *(process(n, 7, mergeable=True, node=1) for n in "AB"))
    w = KernelWorld(*parts, actors=("mover", "adviser"), strategy=schedule).go(mover, adviser)
    assert w.log == ["migration"]
    assert w.found == ["stable_tree:ksm-page-in-unmergeable-vma"]


def test_breaking_without_memory_says_so() -> None:
    async def body(w: KernelWorld) -> None:
        assert await broken(w, "A:0") == -ENOMEM
        assert w.page("A:0") is w.page("A:1")

    run(body, *MERGED, faults=["enomem"], choices=Choices(faults=[1]))


def test_unmerging_a_range_breaks_every_ksm_page_in_it() -> None:
    async def body(w: KernelWorld) -> None:
        kpage, start = w.page("A:0"), w.address("A:0")
        await w.mm("A").mmap_sem.down_write(AT)
        assert await unmerge_ksm_pages(w.g, w.vma("A:0"), start, start + 2 * PAGE_SIZE) == 0
        await w.mm("A").mmap_sem.up_write(AT)
        assert kpage.count.value == 0
        assert w.page("A:0") is not w.page("A:1")
        assert w.counters()[:2] == (1, 1)

    assert run(body, *MERGED).contents("A") == [7, 7]


def test_breaking_a_merge_up_needs_no_area_any_more() -> None:
    async def body(w: KernelWorld) -> None:
        item = RmapItem(w.rt, w.ksm, w.mm("B"), w.address("B:0"))
        await w.ksm.ksm_thread_mutex.lock(AT)
        await hold_anon_vma(item, w.vma("B:1").anon_vma.value)
        await w.munmap("B:0", 1)
        await break_cow(w.g, item)
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED)


async def mlock_page(w: KernelWorld, page: Page) -> None:
    """Make a page mlocked, as mlock(2) does under its lock."""
    await page.page_lock.lock(AT)
    await mlock_vma_page(w.g, page, AT)
    await page.page_lock.unlock(AT)


def test_merging_in_a_locked_area_makes_the_ksm_page_mlocked_instead() -> None:
    log = Log()

    async def body(w: KernelWorld) -> None:
        w.vma("B:0")._vm_flags |= VM_LOCKED
        page, kpage = w.page("B:0"), w.page("A:0")
        await mlock_page(w, page)
        assert await merge_one(w, "B:0", "A:0") == 0
        assert w.page("B:0") is kpage
        assert kpage.flags.has(PG_MLOCKED)
        assert not page.page_lock.locked
        assert not kpage.page_lock.locked

    KernelWorld(*MERGED, recorder=log).go(body, rest=False)
    step = "try_to_merge_one_page.8"
    passed = dict.fromkeys(at for at, _, _ in log.operations if at.startswith(step))
    assert [at.removeprefix(step) for at in passed] == [
        "/munlock_vma_page",
        "#2",
        "#3",
        "#4",
        "/mlock_vma_page",
    ]


def test_ksm_page_that_is_mlocked_already_is_not_even_locked() -> None:
    log = Log()

    async def body(w: KernelWorld) -> None:
        w.vma("B:0")._vm_flags |= VM_LOCKED
        await mlock_page(w, w.page("B:0"))
        await mlock_page(w, w.page("A:0"))
        assert await merge_one(w, "B:0", "A:0") == 0

    KernelWorld(*MERGED, recorder=log).go(body, rest=False)
    passed = {at for at, _, _ in log.operations}
    assert "try_to_merge_one_page.8#2" in passed
    assert "try_to_merge_one_page.8#4" not in passed


def test_upgrade_in_a_locked_area_keeps_the_page_mlocked() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("B:0")._vm_flags |= VM_LOCKED
        await mlock_page(w, w.page("B:0"))
        assert await merge_one(w, "B:0", None) == 0
        assert w.page("B:0").flags.has(PG_MLOCKED)

    KernelWorld(*MERGED).go(body, rest=False)
