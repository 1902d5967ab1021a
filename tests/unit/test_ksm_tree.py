# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's trees: the keyhole reference, searches, insertion, items coming and going, pruning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.mm.ksm_tree import (
    drop_anon_vma,
    get_ksm_page,
    hold_anon_vma,
    memcmp_pages,
    remove_rmap_item_from_tree,
    stable_tree_append,
    stable_tree_insert,
    stable_tree_search,
)
from ksmtrio.mm.ksm_types import STABLE_FLAG, UNSTABLE_FLAG
from ksmtrio.mm.mm_types import KSM_NULL
from ksmtrio.mm.swap import get_page, put_page
from tests.kernel_world import AT, KernelWorld, ksm, machine, process, run, turns

Body = Callable[[KernelWorld], Awaitable[None]]

MERGED = (
    machine(pages_per_block=16),
    ksm(["A:0", "B:0"], ["A:1", "A:2"]),
    process("A", 7, 3, 3, 5, mergeable=True),
    process("B", 7, 7, 9, mergeable=True),
)


def with_mutex(body: Body) -> Body:
    """Run a body with ksm_thread_mutex held, as everything here expects."""

    async def locked(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        await body(w)
        await w.ksm.ksm_thread_mutex.unlock(AT)

    return locked


def test_keyhole_reference_pins_a_live_page() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await get_ksm_page(w.g, w.node("A:0")) is page
        assert page.count.value == 3
        assert not page.page_lock.locked
        await put_page(w.g, page, AT)

    run(body, *MERGED)


def test_node_of_a_freed_page_is_pruned_at_the_first_look() -> None:
    async def body(w: KernelWorld) -> None:
        node, item = w.node("A:0"), w.item("A:0")
        anon_vma = w.vma("A:0").anon_vma.value
        assert anon_vma is not None
        held = anon_vma.ksm_refcount.value
        await w.munmap("A:0", 1)
        await w.munmap("B:0", 1)
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await get_ksm_page(w.g, node) is None
        assert node.dead is not None
        assert node not in w.ksm.stable_root
        assert not item.address & STABLE_FLAG
        assert anon_vma.ksm_refcount.value == held - 1
        assert w.counters() == (1, 1, 0, 2)
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED)


def test_page_reused_for_something_else_does_not_open_the_keyhole() -> None:
    async def body(w: KernelWorld) -> None:
        node, pfn = w.node("A:0"), w.page("A:0").pfn
        await w.munmap("A:0", 1)
        await w.munmap("B:0", 1)
        await w.store("C:0", 7)
        assert w.page("C:0").pfn == pfn
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await get_ksm_page(w.g, node) is None
        assert w.page("C:0").count.value == 2
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED, process("C", "-"))


def test_word_that_changes_after_the_reference_gives_it_back() -> None:
    @with_mutex
    async def looker(w: KernelWorld) -> None:
        w.log.append(await get_ksm_page(w.g, w.ksm._stable_root[0]))

    async def mover(w: KernelWorld) -> None:
        await w.page("A:1").mapping.write(AT, w.node("A:0").word)

    schedule = turns("looker@get_ksm_page.4", "mover", "looker")
    w = KernelWorld(*MERGED, actors=("looker", "mover"), strategy=schedule)
    w.go(looker, mover, rest=False)
    assert w.log == [None]
    assert w.page("A:1").count.value == 2


def test_contents_are_compared_half_by_half() -> None:
    async def body(w: KernelWorld) -> None:
        low, high = w.page("A:3"), w.page("B:2")
        assert await memcmp_pages(low, high, AT) < 0
        assert await memcmp_pages(high, low, AT) > 0
        assert await memcmp_pages(low, low, AT) == 0

    run(body, *MERGED)


def test_search_finds_the_ksm_page_of_equal_content_with_a_reference() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        found = await stable_tree_search(w.g, w.page("B:1"))
        assert found == (w.page("A:0"), w.node("A:0"))
        assert w.page("A:0").count.value == 3
        await put_page(w.g, w.page("A:0"), AT)

    run(body, *MERGED)


def test_search_for_other_content_finds_nothing_and_keeps_no_reference() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        assert await stable_tree_search(w.g, w.page("B:2")) is None
        assert w.page("A:0").count.value == 2

    run(body, *MERGED)


def test_search_for_a_ksm_page_gives_that_page() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        found = await stable_tree_search(w.g, w.page("A:0"))
        assert found == (w.page("A:0"), w.node("A:0"))
        await put_page(w.g, w.page("A:0"), AT)

    run(body, *MERGED)


def test_search_gives_up_when_it_meets_a_stale_node() -> None:
    async def body(w: KernelWorld) -> None:
        assert [w.g.pages[n.kpfn.value].content[0].value for n in w.ksm._stable_root] == [3, 7]  # type: ignore[index]
        await w.munmap("A:0", 1)
        await w.munmap("B:0", 1)
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await stable_tree_search(w.g, w.page("A:1")) is not None
        await put_page(w.g, w.page("A:1"), AT)
        assert await stable_tree_search(w.g, w.page("B:1")) is None
        assert len(w.ksm.stable_root) == 1
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED)


def test_insertion_keeps_the_tree_in_order_of_content() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        page = w.page("A:3")
        await get_page(page, AT)
        old = page.mapping.value
        await page.page_lock.lock(AT)
        await page.mapping.write(AT, KSM_NULL)
        node = await stable_tree_insert(w.g, page)
        assert node is not None
        assert page.mapping.value is node.word
        assert node.kpfn.value == page.pfn
        assert [n.kpfn.value for n in w.ksm.stable_root] == [
            w.page(ref).pfn for ref in ("A:1", "A:3", "A:0")
        ]
        w.ksm.stable_root.remove(node)
        await page.mapping.write(AT, old)
        await page.page_lock.unlock(AT)
        await put_page(w.g, page, AT)

    KernelWorld(*MERGED).go(body, rest=False)


def test_insertion_refuses_content_that_is_in_the_tree() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        page = w.page("B:1")
        await page.page_lock.lock(AT)
        assert await stable_tree_insert(w.g, page) is None
        assert len(w.ksm.stable_root) == 2
        assert w.page("A:0").count.value == 2
        await page.page_lock.unlock(AT)

    run(body, *MERGED)


def test_appending_counts_the_first_item_as_shared_and_further_ones_as_sharing() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        node, page, item = w.node("A:0"), w.page("A:0"), w.item("A:0")
        await remove_rmap_item_from_tree(w.g, item)
        assert w.counters() == (2, 1, 0, 1)
        await remove_rmap_item_from_tree(w.g, w.item("B:0"))
        assert w.counters() == (1, 1, 0, 2)
        assert node in w.ksm.stable_root
        for again in (item, w.item("B:0")):
            await page.page_lock.lock(AT)
            await stable_tree_append(w.g, again, node)
            await page.page_lock.unlock(AT)
            await hold_anon_vma(again, again.anon_vma)
        assert w.counters() == (2, 2, 0, 0)
        assert node.hlist == (w.item("B:0"), item)

    run(body, *MERGED)


def test_appending_to_no_node_is_a_null_dereference() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        await stable_tree_append(w.g, w.item("A:0"), None)

    assert KernelWorld(*MERGED).go(body).found[-1] == "bugs:null-dereference"


def test_removing_an_item_waits_for_the_lock_of_its_page() -> None:
    async def walker(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock("walker.1")
        await w.rt.cond_resched("walker.2")
        w.log.append(("walked", len(w.node("A:0").hlist)))
        await page.page_lock.unlock("walker.3")

    @with_mutex
    async def remover(w: KernelWorld) -> None:
        await remove_rmap_item_from_tree(w.g, w.item("A:0"))
        w.log.append(("removed", len(w.node("B:0").hlist)))

    schedule = turns("walker@walker.2", "remover", "walker", "remover")
    w = KernelWorld(*MERGED, actors=("walker", "remover"), strategy=schedule)
    # A still maps the page, and no item leads there any more.
    assert w.go(walker, remover).found == ["rmap:unfindable-ksm-mapping"]
    assert w.log == [("walked", 2), ("removed", 1)]


def test_unstable_item_of_this_scan_leaves_the_tree_and_one_of_the_last_scan_just_its_flag() -> (
    None
):
    async def body(w: KernelWorld) -> None:
        await w.scan(2)
        item = w.item("A:3")
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert item.address & UNSTABLE_FLAG
        assert item in w.ksm.unstable_root
        await remove_rmap_item_from_tree(w.g, item)
        assert not item.address & UNSTABLE_FLAG
        assert item in w.ksm.unstable_root
        w.ksm.unstable_root.remove(item)
        await w.ksm.ksm_thread_mutex.unlock(AT)
        assert w.counters()[2] == 1

    run(body, *MERGED)


def test_item_older_than_one_scan_is_a_bug() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(2)
        await w.ksm.ksm_thread_mutex.lock(AT)
        await w.ksm.cursor.seqnr.write(AT, w.ksm.cursor.seqnr.value + 1)
        await remove_rmap_item_from_tree(w.g, w.item("A:3"))

    assert KernelWorld(*MERGED).go(body).found == ["bugs:BUG_ON"]


def test_holding_no_anon_vma_is_a_null_dereference() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        await hold_anon_vma(w.item("A:0"), None)

    assert KernelWorld(*MERGED).go(body).found == ["bugs:null-dereference"]


def test_last_hold_frees_an_anon_vma_without_areas() -> None:
    async def body(w: KernelWorld) -> None:
        anon_vma = w.vma("B:0").anon_vma.value
        assert anon_vma is not None
        await w.munmap("B:0", 3)
        assert anon_vma.ksm_refcount.value == 1
        assert anon_vma.dead is None
        await w.ksm.ksm_thread_mutex.lock(AT)
        await drop_anon_vma(w.g, w.item("B:0"))
        await w.ksm.ksm_thread_mutex.unlock(AT)
        assert anon_vma.dead is not None

    KernelWorld(*MERGED).go(body, rest=False)


def test_without_pfns_a_node_names_its_page() -> None:
    @with_mutex
    async def body(w: KernelWorld) -> None:
        assert w.node("A:0").kpfn.value is w.page("A:0")
        assert await get_ksm_page(w.g, w.node("A:0")) is w.page("A:0")
        await put_page(w.g, w.page("A:0"), AT)

    run(body, *MERGED, without=["stable_node_by_pfn"])
