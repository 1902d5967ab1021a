# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse maps of KSM pages, and the node that follows its page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ksmtrio.errors import VmBug
from ksmtrio.mm.ksm_rmap import (
    ksm_migrate_page,
    page_referenced,
    rmap_walk,
    rmap_walk_ksm,
    try_to_unmap,
    try_to_unmap_ksm,
)
from ksmtrio.mm.migrate import remove_migration_ptes
from ksmtrio.mm.mm_types import KSM_NULL, Page, Vma
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.page_flags import PG_REFERENCED
from ksmtrio.mm.rmap import (
    SWAP_AGAIN,
    SWAP_FAIL,
    SWAP_SUCCESS,
    TTU_IGNORE_ACCESS,
    TTU_IGNORE_MLOCK,
    TTU_MIGRATION,
)
from ksmtrio.mm.swap import get_page, put_page
from tests.kernel_world import AT, KernelWorld, ksm, process, run, turns

MIGRATE = TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS

Body = Callable[[KernelWorld], Awaitable[None]]

MERGED = (
    ksm(["A:0", "A:1", "B:0"]),
    process("A", 7, 7, 1, mergeable=True),
    process("B", 7, mergeable=True),
)


def with_page(body: Body) -> Body:
    """Run a body with the KSM page locked and held."""

    async def locked(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        await page.page_lock.lock(AT)
        await body(w)
        await page.page_lock.unlock(AT)
        await put_page(w.g, page, AT)

    return locked


def test_unmapping_replaces_the_ptes_of_all_items() -> None:
    @with_page
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await try_to_unmap(w.g, page, MIGRATE) == SWAP_SUCCESS
        assert [w.pte(ref).kind for ref in ("A:0", "A:1", "B:0")] == ["migration"] * 3
        assert page.mapcount.value == -1
        assert page.count.value == 1
        assert len(page.mapping.value.target._hlist) == 3  # type: ignore[union-attr]
        await remove_migration_ptes(w.g, page, page)
        assert page.mapcount.value == 2

    run(body, *MERGED)


def test_pte_without_an_item_is_not_found() -> None:
    """A real defect of the time: such a page can neither be migrated nor swapped out."""

    @with_page
    async def body(w: KernelWorld) -> None:
        page, node = w.page("A:0"), w.node("A:0")
        node._hlist = tuple(item for item in node._hlist if item.mm is w.mm("A"))
        assert await try_to_unmap(w.g, page, MIGRATE) == SWAP_AGAIN
        assert w.pte("B:0").present
        await remove_migration_ptes(w.g, page, page)

    KernelWorld(*MERGED).go(body, rest=False)


def test_page_without_node_cannot_be_unmapped() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("C:0")
        word = page.mapping.value
        await page.page_lock.lock(AT)
        await page.mapping.write(AT, KSM_NULL)
        assert await try_to_unmap_ksm(w.g, page, MIGRATE) == SWAP_FAIL
        assert await try_to_unmap(w.g, page, MIGRATE) == SWAP_FAIL
        assert w.pte("C:0").present
        await page.mapping.write(AT, word)
        await page.page_lock.unlock(AT)

    run(body, process("C", 1, pte="ro"))


def test_page_without_node_is_not_referenced_whoever_has_locked_it() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("C:0")
        word = page.mapping.value
        await page.page_lock.lock(AT)
        await page.mapping.write(AT, KSM_NULL)
        assert (await page_referenced(w.g, page, is_locked=False)).count == 0
        await page.mapping.write(AT, word)
        await page.page_lock.unlock(AT)

    run(body, process("C", 1, pte="ro"))


def test_walk_visits_each_item_once_and_needs_no_mapping() -> None:
    @with_page
    async def body(w: KernelWorld) -> None:
        async def action(_: Page, vma: Vma, address: int) -> int:
            w.log.append((vma.vm_mm.label, address))
            return SWAP_AGAIN

        await rmap_walk(w.g, w.page("A:0"), action)
        assert sorted(w.log) == sorted((r[0], w.address(r)) for r in ("A:0", "A:1", "B:0"))

    run(body, *MERGED)


def test_walk_of_a_page_without_node_does_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        async def action(_: Page, vma: Vma, address: int) -> int:
            w.log.append((vma, address))
            return SWAP_AGAIN

        assert await rmap_walk_ksm(w.g, w.page("A:2"), action) == SWAP_AGAIN
        assert w.log == []

    run(body, *MERGED)


def test_walk_of_an_ordinary_page_goes_by_its_anon_vma() -> None:
    async def body(w: KernelWorld) -> None:
        async def action(_: Page, vma: Vma, address: int) -> int:
            w.log.append((vma.vm_mm.label, address))
            return SWAP_AGAIN

        await rmap_walk(w.g, w.page("A:2"), action)
        assert w.log == [("A", w.address("A:2"))]

    run(body, *MERGED)


def test_item_of_an_unmapped_area_is_passed_over() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("B:0", 1)
        page = w.page("A:0")
        await get_page(page, AT)
        await page.page_lock.lock(AT)
        assert await try_to_unmap(w.g, page, MIGRATE) == SWAP_SUCCESS
        assert w.pte("B:0").none
        await remove_migration_ptes(w.g, page, page)
        assert w.pte("B:0").none
        await page.page_lock.unlock(AT)
        await put_page(w.g, page, AT)

    run(body, *MERGED)


def test_node_follows_its_page() -> None:
    async def body(w: KernelWorld) -> None:
        old, new, node = w.page("A:0"), await alloc_page(w.g, AT), w.node("A:0")
        assert new is not None
        for page in (old, new):
            await page.page_lock.lock(AT)
        await new.mapping.write(AT, node.word)
        await ksm_migrate_page(w.g, new, old)
        assert node.kpfn.value == new.pfn
        await ksm_migrate_page(w.g, old, new)
        assert node.kpfn.value == old.pfn
        await new.mapping.write(AT, None)
        for page in (old, new):
            await page.page_lock.unlock(AT)
        await put_page(w.g, new, AT)

    run(body, *MERGED)


def test_ordinary_page_has_no_node_to_follow() -> None:
    async def body(w: KernelWorld) -> None:
        await ksm_migrate_page(w.g, w.page("A:2"), w.page("A:2"))

    run(body, *MERGED)


def test_pages_with_different_words_are_a_bug() -> None:
    async def body(w: KernelWorld) -> None:
        with pytest.raises(VmBug, match="newpage->mapping"):
            await ksm_migrate_page(w.g, w.page("A:0"), w.page("A:2"))

    run(body, *MERGED)


def test_node_that_names_another_page_is_a_bug() -> None:
    async def body(w: KernelWorld) -> None:
        w.page("A:2").mapping.value = w.page("A:0").mapping.value
        with pytest.raises(VmBug, match="kpfn"):
            await ksm_migrate_page(w.g, w.page("A:0"), w.page("A:2"))
        w.page("A:2").mapping.value = word

    world = KernelWorld(*MERGED)
    word = world.page("A:2").mapping.value
    assert world.go(body).found == []


def test_walker_and_ksmd_exclude_each_other_by_the_page_lock() -> None:
    async def mover(w: KernelWorld) -> None:
        await w.offline(1)

    async def writer(w: KernelWorld) -> None:
        await w.munmap("B:0", 1)

    schedule = turns("mover@try_to_unmap_one.1", "writer", "mover", "writer")
    parts = (ksm(["A:0", "B:0"]), *(process(n, 7, mergeable=True, node=1) for n in "AB"))
    w = KernelWorld(*parts, actors=("mover", "writer"), strategy=schedule)
    assert w.go(mover, writer).found == []
    assert w.contents("A") == [7]


def test_accessed_bits_of_all_items_count_and_are_cleared() -> None:
    @with_page
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        page.flags.change_in_step(AT, set_=PG_REFERENCED)
        assert (await page_referenced(w.g, page, is_locked=True)).count == 4
        assert not any(w.pte(ref).young for ref in ("A:0", "A:1", "B:0"))
        assert (await page_referenced(w.g, page, is_locked=True)).count == 0

    run(body, *MERGED)


def test_ksm_page_that_somebody_else_locks_counts_as_referenced() -> None:
    @with_page
    async def body(w: KernelWorld) -> None:
        assert (await page_referenced(w.g, w.page("A:0"), is_locked=False)).count == 1
        assert w.pte("A:0").young

    run(body, *MERGED)
