# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrating pages: success, refusal, retries, and what a failed attempt puts back."""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOMEM

import pytest

from ksmtrio.mm.migrate import NewPage, Target, migrate_pages
from ksmtrio.mm.mm_types import Page, Pte
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_DIRTY, PG_LRU, PG_SWAPBACKED, PG_UPTODATE
from ksmtrio.mm.swap import get_page, lru_add_drain_all, put_page
from ksmtrio.mm.vmscan import isolate_lru_page
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, Log, ksm, machine, process, run, turns

MERGED = (
    machine(pages_per_block=16),
    ksm(["A:0", "B:0"]),
    process("A", 7, 1, mergeable=True),
    process("B", 7, 2, mergeable=True),
)


def to_node_1(w: KernelWorld, results: list[int] | None = None) -> NewPage:
    """Return an allocator of replacements on node 1, which notes the result of each attempt."""
    note: Callable[[int], None] = (w.log if results is None else results).append

    async def new_page(_: Page) -> Target:
        return Target(await alloc_page(w.g, AT, nids=(1,)), note)

    return new_page


async def move(w: KernelWorld, *refs: str, offlining: bool = False) -> int:
    """Isolate pages and migrate them to node 1."""
    pages = [w.page(ref) for ref in refs]
    for page in pages:
        assert await isolate_lru_page(w.g, page) == 0
    return await migrate_pages(w.g, pages, to_node_1(w), offlining=offlining)


def test_page_moves_with_its_content_mapping_and_flags() -> None:
    async def body(w: KernelWorld) -> None:
        old = w.page("A:1")
        word, index = old.mapping.value, old.index.value
        assert await move(w, "A:1") == 0
        new = w.page("A:1")
        assert w.log == [1]
        assert (new.nid, new.mapping.value, new.index.value) == (1, word, index)
        assert w.pte("A:1") == Pte("present", new.pfn, write=True)
        for flag in (PG_SWAPBACKED, PG_UPTODATE, PG_DIRTY):
            assert new.flags.has(flag)
        assert old.mapping.value is None
        await lru_add_drain_all(w.g, AT)
        assert old.count.value == 0
        assert new.count.value == 1
        assert new.flags.has(PG_LRU)
        assert new.flags.has(PG_ACTIVE)

    assert run(body, *MERGED).contents("A") == [7, 1]


def test_old_page_lives_until_the_pagevec_is_drained() -> None:
    async def body(w: KernelWorld) -> None:
        old = w.page("A:1")
        await move(w, "A:1")
        assert old.count.value == 1
        assert old.mapcount.value == -1

    run(body, *MERGED)


def test_ksm_page_is_refused_under_its_lock_and_put_back() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await move(w, "A:0", "A:1") == 1
        assert w.log == [-16, 1]
        assert w.page("A:0") is w.page("B:0") is page
        await lru_add_drain_all(w.g, AT)
        assert page.flags.has(PG_LRU)

    run(body, *MERGED)


def test_ksm_page_moves_with_its_node_for_an_offliner() -> None:
    async def body(w: KernelWorld) -> None:
        node, items = w.node("A:0"), w.node("A:0")._hlist
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await move(w, "A:0", offlining=True) == 0
        await w.ksm.ksm_thread_mutex.unlock(AT)
        assert w.node("A:0") is node
        assert node.kpfn.value == w.page("B:0").pfn
        assert node._hlist == items
        assert w.page("A:0") is w.page("B:0")
        assert w.page("A:0").nid == 1
        assert not w.pte("A:0").write

    w = run(body, *MERGED)
    assert (w.contents("A"), w.contents("B")) == ([7, 1], [7, 2])


def test_page_with_an_extra_reference_stays_where_it_is_after_ten_attempts() -> None:
    async def body(w: KernelWorld) -> None:
        page, before = w.page("A:1"), w.pte("A:1")
        await get_page(page, AT)
        pages = [page]
        await isolate_lru_page(w.g, page)
        assert await migrate_pages(w.g, pages, to_node_1(w), offlining=False) == 1
        assert pages == []
        assert w.log == [-11] * 10
        assert w.pte("A:1") == Pte("present", page.pfn, write=before.write)
        assert page.mapcount.value == 0
        await put_page(w.g, page, AT)

    assert run(body, *MERGED).contents("A") == [7, 1]


def test_write_permission_survives_a_migration_and_is_not_gained_by_one() -> None:
    async def body(w: KernelWorld) -> None:
        assert await move(w, "A:0", "B:0") == 0
        assert w.pte("A:0").write
        assert not w.pte("B:0").write

    run(body, process("A", 1), process("B", 2, pte="ro"))


def test_page_that_everybody_else_has_left_is_not_moved() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:1")
        await isolate_lru_page(w.g, page)
        await w.munmap("A:1", 1)
        assert await migrate_pages(w.g, [page], to_node_1(w), offlining=False) == 0
        assert w.log == [1]
        await lru_add_drain_all(w.g, AT)
        assert page.count.value == 0

    run(body, *MERGED)


@pytest.mark.parametrize("attempt", [0, 1])
def test_lack_of_memory_ends_the_call_and_puts_the_rest_back(attempt: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await move(w, "A:1", "B:1") == -ENOMEM
        assert w.log == [1] * attempt
        await lru_add_drain_all(w.g, AT)
        assert all(w.page(ref).flags.has(PG_LRU) for ref in ("A:1", "B:1"))

    run(body, *MERGED, faults=["enomem"], choices=Choices(faults=[0] * attempt + [1]))


def test_first_three_passes_do_not_wait_for_a_locked_page() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(("moved", await move(w, "A:1")))

    async def holder(w: KernelWorld) -> None:
        page = w.page("A:1")
        await page.page_lock.lock(AT)
        await w.rt.cond_resched("holder.1")
        w.log.append("unlocks")
        await page.page_lock.unlock(AT)

    schedule = turns("holder@holder.1", "mover", "holder", "mover")
    w = KernelWorld(*MERGED, actors=("mover", "holder"), strategy=schedule)
    assert w.go(mover, holder).found == []
    assert w.log == [-11, -11, -11, "unlocks", 1, ("moved", 0)]


def test_fault_that_waits_for_a_migration_can_defeat_the_attempt() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(("moved", await move(w, "A:1")))

    async def reader(w: KernelWorld) -> None:
        assert await w.load("A:1") == (0, 1)

    schedule = turns(
        "mover@move_to_new_page.1", "reader", "mover@putback_lru_page.1", "reader", "mover"
    )
    w = KernelWorld(*MERGED, actors=("mover", "reader"), strategy=schedule)
    assert w.go(mover, reader).found == []
    assert w.log == [-11, 1, ("moved", 0)]


def test_waiter_that_finds_no_entry_any_more_goes_on() -> None:
    async def mover(w: KernelWorld) -> None:
        assert await move(w, "A:1") == 0

    async def reader(w: KernelWorld) -> None:
        assert await w.load("A:1") == (0, 1)
        w.log.append("read")

    schedule = turns("mover@move_to_new_page.1", "reader@migration_entry_wait.1", "mover", "reader")
    w = KernelWorld(*MERGED, actors=("mover", "reader"), strategy=schedule)
    assert w.go(mover, reader).found == []
    assert "read" in w.log


def test_entry_of_an_unlocked_page_is_a_bug() -> None:
    async def body(w: KernelWorld) -> None:
        cell = w.mm("A").pte(w.address("A:1"))
        cell.value = Pte("migration", cell.value.pfn)
        await w.load("A:1")

    assert "bugs:BUG_ON" in KernelWorld(*MERGED).go(body).found


def test_unmapping_a_migration_entry_lets_the_migration_end_with_a_free_page() -> None:
    async def mover(w: KernelWorld) -> None:
        assert await move(w, "A:1") == 0

    async def unmapper(w: KernelWorld) -> None:
        await w.munmap("A:0", 2)

    schedule = turns("mover@move_to_new_page.1", "unmapper", "mover")
    w = KernelWorld(*MERGED, actors=("mover", "unmapper"), strategy=schedule)
    assert w.go(mover, unmapper).found == []
    assert w.contents("A") == [None, None]
    assert sum(page.count.value > 0 for page in w.g.pages.values()) == 2


def test_content_is_copied_half_by_half_before_the_old_page_is_disowned() -> None:
    log = Log()

    async def body(w: KernelWorld) -> None:
        await move(w, "A:1")

    run(body, *MERGED, recorder=log)
    labels = [at for at, _, _ in log.operations if at.startswith("migrate_page_copy.")]
    assert labels.index("migrate_page_copy.1") < labels.index("migrate_page_copy.1#2")
    assert labels[-1] == "migrate_page_copy.7"
