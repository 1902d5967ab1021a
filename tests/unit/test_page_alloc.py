# SPDX-License-Identifier: GPL-2.0-or-later
"""The page allocator: what it hands out, what it checks, where freed pages go."""

from __future__ import annotations

from ksmtrio.mm.mmzone import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from ksmtrio.mm.page_alloc import alloc_page, drain_all_pages, node_has_memory
from ksmtrio.mm.page_flags import PG_BUDDY, PG_DIRTY, PG_MLOCKED, PG_RESERVED
from ksmtrio.mm.page_isolation import start_isolate_page_range, undo_isolate_page_range
from ksmtrio.mm.swap import put_page
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, ksm, machine, process, run

SMALL = machine(nodes=2, pages_per_block=4)


def free(w: KernelWorld, nid: int, migratetype: int = MIGRATE_MOVABLE) -> list[int]:
    return [page.pfn for page in w.g.zones[nid]._free_list[migratetype]]


def cached(w: KernelWorld, cpu: int = 0) -> list[int]:
    return [page.pfn for page in w.g.per_cpu[cpu]._pcp]


def test_allocated_page_has_one_reference_and_no_flags() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        assert (page.pfn, page.count.value, page.flags.value) == (0, 1, 0)
        await put_page(w.g, page, AT)
        assert page.count.value == 0

    run(body, SMALL)


def test_freed_page_waits_on_the_list_of_its_cpu_and_is_handed_out_first() -> None:
    async def body(w: KernelWorld) -> None:
        first = await alloc_page(w.g, AT)
        second = await alloc_page(w.g, AT)
        assert first is not None
        assert second is not None
        await put_page(w.g, first, AT)
        assert cached(w) == [first.pfn]
        again = await alloc_page(w.g, AT)
        assert again is first
        assert cached(w) == []
        await put_page(w.g, first, AT)
        await put_page(w.g, second, AT)

    run(body, SMALL)


def test_pages_on_the_list_of_another_cpu_are_out_of_reach() -> None:
    async def first(w: KernelWorld) -> None:
        pages = [await alloc_page(w.g, AT, nids=(1,)) for _ in range(4)]
        for page in pages:
            assert page is not None
            await put_page(w.g, page, AT)

    async def second(w: KernelWorld) -> None:
        assert await alloc_page(w.g, AT, nids=(1,)) is None
        await drain_all_pages(w.g, AT)
        page = await alloc_page(w.g, AT, nids=(1,))
        assert page is not None
        await put_page(w.g, page, AT)

    w = KernelWorld(machine(nodes=2, pages_per_block=4, cpus=2), actors=("first", "second"))
    assert w.go(first, second).found == []


def test_full_node_falls_back_to_the_other_unless_the_caller_insists() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        assert page.nid == 1
        assert await alloc_page(w.g, AT, nids=(0,)) is None
        await put_page(w.g, page, AT)

    run(body, SMALL, process("A", 1, 2, 3, 4))


def test_pages_of_an_unmovable_block_serve_movable_allocations_again_after_a_drain() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("A:0", 4)
        await drain_all_pages(w.g, AT)
        assert sorted(free(w, 0, MIGRATE_UNMOVABLE)) == [0, 1, 2, 3]
        page = await alloc_page(w.g, AT, nids=(0,))
        assert page is not None
        await put_page(w.g, page, AT)

    run(body, machine(nodes=2, pages_per_block=4, movable_blocks=[1]), process("A", 1, 2, 3, 4))


def test_allocation_can_fail_only_where_the_scenario_allows_it() -> None:
    async def body(w: KernelWorld) -> None:
        w.log.append(await alloc_page(w.g, AT) is None)

    fails = Choices(faults=[1])
    assert run(body, SMALL, faults=["enomem"], choices=fails).log == [True]


def test_coldest_frame_is_the_other_data_choice() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        w.log.append(page.pfn)
        await put_page(w.g, page, AT)

    assert run(body, SMALL).log == [0]
    assert run(body, SMALL, choices=Choices(data=[1])).log == [3]


def test_zeroed_allocation_clears_the_content() -> None:
    async def body(w: KernelWorld) -> None:
        w.g.pages[0].content[0].value = 5
        page = await alloc_page(w.g, AT, zero=True)
        assert page is not None
        assert [half.value for half in page.content] == [0, 0]
        await put_page(w.g, page, AT)

    run(body, SMALL)


def test_no_page_of_an_isolated_block_is_handed_out() -> None:
    async def body(w: KernelWorld) -> None:
        section = w.g.sections[1]
        assert await start_isolate_page_range(w.g, section) == 0
        assert free(w, 1) == []
        assert len(free(w, 1, MIGRATE_ISOLATE)) == 4
        assert await alloc_page(w.g, AT, nids=(1,)) is None
        await undo_isolate_page_range(w.g, section)
        assert len(free(w, 1)) == 4

    run(body, SMALL)


def test_page_freed_in_an_isolated_block_goes_straight_to_the_isolate_list() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT, nids=(1,))
        assert page is not None
        await start_isolate_page_range(w.g, w.g.sections[1])
        await put_page(w.g, page, AT)
        assert cached(w) == []
        assert page.pfn in free(w, 1, MIGRATE_ISOLATE)
        assert page.flags.has(PG_BUDDY)
        await undo_isolate_page_range(w.g, w.g.sections[1])

    run(body, SMALL)


def test_isolation_empties_the_lists_of_all_cpus() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT, nids=(1,))
        assert page is not None
        await put_page(w.g, page, AT)
        await start_isolate_page_range(w.g, w.g.sections[1])
        assert cached(w) == []
        await undo_isolate_page_range(w.g, w.g.sections[1])

    run(body, SMALL)


def test_freeing_clears_the_mapping_and_the_mlocked_bit_and_tells_nobody_of_ksm() -> None:
    async def body(w: KernelWorld) -> None:
        page, node = w.page("A:0"), w.node("A:0")
        page.flags.value |= PG_MLOCKED | PG_DIRTY
        await w.munmap("A:0", 2)
        assert page.mapping.value is None
        assert page.flags.value == 0
        assert node.kpfn.value == page.pfn
        assert w.ksm._stable_root == [node]

    run(body, SMALL, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_dropping_the_reference_of_a_pte_that_is_still_there_is_noticed_at_once() -> None:
    async def body(w: KernelWorld) -> None:
        await put_page(w.g, w.page("A:0"), AT)

    assert KernelWorld(SMALL, process("A", 1)).go(body).found == ["page_state:refcount-below-ptes"]


def test_freeing_a_reserved_page_is_a_bad_page() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        page.flags.value |= PG_RESERVED
        await put_page(w.g, page, AT)

    assert KernelWorld(SMALL).go(body).found == ["page_state:bad-page"]


def test_allocating_a_page_that_is_not_clean_is_a_bad_page() -> None:
    async def spoilt_flags(w: KernelWorld) -> None:
        w.g.pages[0].flags.value |= PG_DIRTY
        await alloc_page(w.g, AT)

    async def spoilt_mapcount(w: KernelWorld) -> None:
        w.g.pages[0].mapcount.value = 0
        await alloc_page(w.g, AT)

    for body in (spoilt_flags, spoilt_mapcount):
        assert KernelWorld(SMALL).go(body).found == ["page_state:bad-page"]


def test_node_has_memory_until_its_last_block_is_offline() -> None:
    async def body(w: KernelWorld) -> None:
        assert await node_has_memory(w.g, 1, AT)
        assert await w.offline(1) == 0
        assert not await node_has_memory(w.g, 1, AT)
        assert await node_has_memory(w.g, 0, AT)
        assert not await node_has_memory(w.g, 7, AT)
        assert await w.online(1) == 0
        assert await node_has_memory(w.g, 1, AT)

    run(body, SMALL)
