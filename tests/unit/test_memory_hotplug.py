# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking memory offline and online. Results of whole operations are a kernel 2.6.33.3's."""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EINTR, EINVAL

from ksmtrio.mm.memory_hotplug import do_migrate_range, scan_lru_pages
from ksmtrio.mm.mmzone import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.page_flags import PG_BUDDY, PG_LRU, PG_RESERVED
from ksmtrio.mm.page_isolation import check_pages_isolated, start_isolate_page_range
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from ksmtrio.notifier import NOTIFY_OK, MemoryNotify, NotifierBlock
from ksmtrio.sched.choices import Choices
from tests.kernel_world import (
    AT,
    KernelWorld,
    Shot,
    ksm,
    machine,
    notifier,
    process,
    run,
    turns,
    vma,
)

LARGE = machine(pages_per_block=16)


def migratetypes(w: KernelWorld, block: int) -> list[int]:
    return [cell.value for cell in w.g.sections[block].migratetypes]


def test_offline_moves_everything_and_ksm_goes_on_as_before() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (2, 4, 2, 0)
        before = w.frames("A")
        assert await w.offline(1) == 0
        assert w.counters() == (2, 4, 2, 0)
        shot = w.shot("A")
        assert shot == Shot(
            "0" * 8,
            "ppKKKKKK",
            (1, 1, 4, 4, 4, 4, 2, 2),
            ("A0", "A1", "A2", "A2", "A2", "A2", "A6", "A6"),
        )
        assert not set(before) & set(w.frames("A"))
        await w.scan()
        assert w.counters() == (2, 4, 2, 0)
        for number, value in enumerate((140, 143)):
            await w.store(f"B:{number}", value)
        await w.madvise("B:0", 2, mergeable=True)
        for _ in range(3):
            await w.scan()
            assert w.counters() == (2, 6, 2, 0)
        assert await w.online(1) == 0
        assert await w.offline(1) == 0
        assert w.counters() == (2, 6, 2, 0)
        assert await w.online(1) == 0
        await w.scan()
        assert w.counters() == (2, 6, 2, 0)

    contents = (141, 142, 140, 140, 140, 140, 143, 143)
    parts = (process("A", *contents, mergeable=True, node=1), process("B", "-", "-"))
    w = run(body, LARGE, *parts)
    assert w.contents("A") == list(contents)
    assert w.contents("B") == [140, 143]


def test_checksums_survive_an_offline() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        assert w.counters() == (0, 0, 0, 5)
        assert await w.offline(1) == 0
        assert w.counters() == (0, 0, 0, 5)
        for _ in range(2):
            await w.scan()
            assert w.counters() == (2, 2, 1, 0)
        assert await w.online(1) == 0

    w = run(body, process("A", 230, 230, 231, 231, 232, mergeable=True, node=1))
    assert w.shot("A").ksm == "KKKKp"  # type: ignore[union-attr]
    assert w.shot("A").node == "00000"  # type: ignore[union-attr]


def test_nodes_left_by_munmap_are_pruned_by_the_offline_of_their_block() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (2, 4, 2, 0)
        await w.munmap("A:0", 8)
        assert w.counters() == (2, 4, 2, 0)
        assert await w.offline(1) == 0
        assert w.counters() == (0, 0, 2, 6)
        assert await w.online(1) == 0
        await w.madvise("B:0", 8, mergeable=True)
        await w.scan()
        assert w.counters() == (0, 0, 0, 8)
        await w.scan(2)
        assert w.counters() == (2, 4, 2, 0)

    contents = (150,) * 4 + (151,) * 2 + (152, 153)
    parts = (process("A", *contents, mergeable=True, node=1), process("B", *contents, node=1))
    assert run(body, LARGE, *parts).contents("B") == list(contents)


def test_pinned_page_makes_the_offline_time_out_and_stays_alone() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (2, 3, 1, 0)
        pinned = w.page("A:5")
        await get_page(pinned, AT)
        assert await w.offline(1) == -EAGAIN
        assert w.shot("A").node == "000001"  # type: ignore[union-attr]
        assert w.counters() == (2, 3, 1, 0)
        assert w.machine.memory_blocks[1].state.value == "online"
        assert migratetypes(w, 1) == [MIGRATE_MOVABLE]
        assert w.ksm.ksm_thread_mutex.free
        await w.store("B:0", 180)
        await w.madvise("B:0", 1, mergeable=True)
        await w.scan(2)
        assert w.counters() == (2, 4, 1, 0)
        await put_page(w.g, pinned, AT)

    contents = (180, 180, 180, 181, 181, 182)
    parts = (process("A", *contents, mergeable=True, node=1), process("B", "-"))
    w = run(body, machine(pages_per_block=32), *parts)
    assert w.contents("A") == list(contents)


def test_offline_page_is_reserved_and_on_no_list() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        for pfn in range(8, 16):
            page = w.g.pages[pfn]
            assert page.flags.value == PG_RESERVED
            assert page.count.value == 0
            assert page.mapping.value is None
        assert not any(w.g.zones[1]._free_list.values())
        assert migratetypes(w, 1) == [MIGRATE_MOVABLE]
        assert w.g.zones[1].present_pages.value == 0

    run(body, process("A", 1, 2, node=1))


def test_online_block_serves_allocations_again() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await alloc_page(w.g, AT, nids=(1,)) is None
        assert await w.online(1) == 0
        assert w.g.zones[1].present_pages.value == 8
        page = await alloc_page(w.g, AT, nids=(1,))
        assert page is not None
        await put_page(w.g, page, AT)

    run(body)


def test_unmovable_block_is_refused_without_telling_anybody() -> None:
    async def body(w: KernelWorld) -> None:
        actions: list[str] = []

        async def callback(action: str, _: MemoryNotify) -> int:
            actions.append(action)
            return NOTIFY_OK

        w.g.memory_chain.register_at_boot(NotifierBlock("spy", callback))
        assert await w.offline(0) == -EBUSY
        assert actions == []
        assert migratetypes(w, 0) == [MIGRATE_UNMOVABLE]
        assert await w.offline(1) == 0
        assert actions == ["MEM_GOING_OFFLINE", "MEM_OFFLINE"]

    run(body, machine(movable_blocks=[1]))


def test_block_in_two_zones_is_refused_before_anything_is_done() -> None:
    async def body(w: KernelWorld) -> None:
        actions = []

        async def callback(action: str, arg: MemoryNotify) -> int:
            actions.append(action)
            return NOTIFY_OK

        w.g.memory_chain.register_at_boot(NotifierBlock("spy", callback))
        assert await w.offline(0) == -EINVAL
        assert actions == []
        assert migratetypes(w, 0) == [MIGRATE_MOVABLE]
        assert w.machine.memory_blocks[0].state.value == "online"
        assert await w.offline(1) == 0

    run(body, machine(mixed_zone_blocks=[0]))


def test_notification_names_the_range_and_the_node_it_empties() -> None:
    async def body(w: KernelWorld) -> None:
        async def callback(action: str, arg: MemoryNotify) -> int:
            w.log.append((action, arg.start_pfn, arg.nr_pages, arg.status_change_nid))
            return NOTIFY_OK

        w.g.memory_chain.register_at_boot(NotifierBlock("spy", callback))
        assert await w.offline(2) == 0
        assert await w.offline(3) == 0

    # With pm_mutex around both offlines; without, two of them are a lock order cycle (L10).
    w = run(body, machine(blocks_per_node=2, pages_per_block=4, hibernation=True))
    assert w.log == [
        ("MEM_GOING_OFFLINE", 8, 4, -1),
        ("MEM_OFFLINE", 8, 4, -1),
        ("MEM_GOING_OFFLINE", 12, 4, 1),
        ("MEM_OFFLINE", 12, 4, 1),
    ]


def test_veto_cancels_for_everybody_and_gives_its_errno() -> None:
    async def body(w: KernelWorld) -> None:
        async def callback(action: str, _: MemoryNotify) -> int:
            w.log.append(action)
            return NOTIFY_OK

        w.g.memory_chain.register_at_boot(NotifierBlock("late", callback, -1))
        assert await w.offline(1) == -EBUSY
        assert migratetypes(w, 1) == [MIGRATE_MOVABLE]

    w = run(body, notifier("driver", veto=True, errno="EBUSY"))
    assert w.log == ["MEM_CANCEL_OFFLINE"]


def test_signal_interrupts_an_offline() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EINTR

    run(body, process("A", 1, node=1), faults=["signal"], choices=Choices(faults=[1]))


def test_offline_may_time_out_early_where_the_scenario_allows_it() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EAGAIN

    run(body, process("A", 1, node=1), faults=["early-expiry"], choices=Choices(faults=[1]))


def test_page_in_use_off_the_lru_makes_a_round_busy() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:1")
        await isolate_lru_page(w.g, page)
        assert await do_migrate_range(w.g, 8, 16) == -EBUSY
        await w.drain()
        assert w.page("A:0").flags.has(PG_LRU)
        await putback_lru_page(w.g, page)

    run(body, process("A", 1, 2, node=1))


def test_five_busy_rounds_fail_the_offline() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:1")
        await isolate_lru_page(w.g, page)
        assert await w.offline(1) == -EBUSY
        await putback_lru_page(w.g, page)

    run(body, machine(offline_timeout_jiffies=100), process("A", 1, 2, node=1))


def test_free_pages_need_no_migration() -> None:
    async def body(w: KernelWorld) -> None:
        assert await scan_lru_pages(w.g, w.g.sections[1]) is None
        assert await do_migrate_range(w.g, 8, 16) == 0

    run(body)


def test_frame_0_is_never_found_by_the_scan() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.page("A:0").pfn == 0
        assert await scan_lru_pages(w.g, w.g.sections[0]) is None
        assert await w.offline(0) == -EBUSY
        assert w.contents("A") == [1]

    run(body, process("A", 1))


def test_final_check_refuses_a_page_in_use() -> None:
    async def body(w: KernelWorld) -> None:
        section = w.g.sections[1]
        assert await check_pages_isolated(w.g, section) == -EBUSY
        await start_isolate_page_range(w.g, section)
        assert migratetypes(w, 1) == [MIGRATE_ISOLATE] * 2
        assert await check_pages_isolated(w.g, section) == 8
        w.g.pages[9].flags.value &= ~PG_BUDDY
        assert await check_pages_isolated(w.g, section) == -EBUSY

    KernelWorld(machine(pages_per_pageblock=4)).go(body, rest=False)


def test_isolation_is_undone_where_a_later_pageblock_refuses() -> None:
    async def body(w: KernelWorld) -> None:
        w.g.sections[1].migratetypes[1].value = MIGRATE_UNMOVABLE
        assert await w.offline(1) == -EBUSY
        assert migratetypes(w, 1) == [MIGRATE_MOVABLE, MIGRATE_UNMOVABLE]
        assert len(w.g.zones[1]._free_list[MIGRATE_MOVABLE]) == 8

    run(body, machine(pages_per_pageblock=4))


def test_failed_offline_lets_ksmd_go_on_before_the_block_is_allocatable_again() -> None:
    async def driver(w: KernelWorld) -> None:
        w.log.append(await w.offline(1))

    async def other(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        w.log.append(migratetypes(w, 1))
        await w.ksm.ksm_thread_mutex.unlock(AT)

    schedule = turns(
        "driver@driver_memory_callback.1", "other", "driver@unset_migratetype_isolate.1", "other"
    )
    w = KernelWorld(notifier("veto", veto=True), actors=("driver", "other"), strategy=schedule)
    assert w.go(driver, other).found == []
    assert w.log == [[MIGRATE_ISOLATE], -1]


def test_fault_during_an_offline_allocates_elsewhere() -> None:
    async def driver(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def toucher(w: KernelWorld) -> None:
        await w.store("A:0", 5)
        w.log.append(w.page("A:0").nid)

    schedule = turns("driver@scan_lru_pages.1", "toucher", "driver")
    parts = (process("A", "-"), process("B", 1, node=1))
    w = KernelWorld(*parts, actors=("driver", "toucher"), strategy=schedule)
    assert w.go(driver, toucher).found == []
    assert w.log == [0]


def test_two_offlines_take_turns_with_hibernation_support() -> None:
    async def driver(w: KernelWorld) -> None:
        w.log.append(await w.offline(2 + len(w.log)))

    async def other(w: KernelWorld) -> None:
        w.log.append(await w.offline(3))

    schedule = turns("driver@scan_lru_pages.1", "other", "driver", "other")
    parts = (
        machine(blocks_per_node=2, pages_per_block=8, hibernation=True),
        "\n".join([process("A", 1, 2, block=2), vma([3], block=3)]),
    )
    w = KernelWorld(*parts, actors=("driver", "other"), strategy=schedule)
    assert w.go(driver, other).found == []
    assert w.log == [0, 0]
    assert w.contents("A") == [1, 2, 3]


def test_ksm_page_with_unfindable_mapping_keeps_its_block_online() -> None:
    """A real defect of the time."""

    async def body(w: KernelWorld) -> None:
        node = w.node("A:0")
        node._hlist = node._hlist[:1]
        assert await w.offline(1) == -EAGAIN

    parts = (ksm(["A:0", "B:0"]), *(process(n, 7, mergeable=True, node=1) for n in "AB"))
    w = KernelWorld(machine(pages_per_block=64), *parts).go(body, rest=False)
    assert (w.contents("A"), w.contents("B")) == ([7], [7])
