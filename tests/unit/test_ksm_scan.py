# SPDX-License-Identifier: GPL-2.0-or-later
"""The scan: what ksmd merges when, how its cursor moves, what it forgets.

Counters are (shared, sharing, unshared, volatile). The expectations after whole scans are what a
kernel 2.6.33.3 answered to the same steps.
"""

from __future__ import annotations

from ksmtrio.mm.ksm_scan import ksm_scan_thread
from ksmtrio.mm.ksm_types import STABLE_FLAG, UNSTABLE_FLAG
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE
from ksmtrio.sched.choices import Choices
from tests.kernel_world import (
    KernelWorld,
    Log,
    Shot,
    actor,
    ksm,
    machine,
    process,
    run,
    turns,
    vma,
)

LARGE = machine(pages_per_block=16)


async def scans(w: KernelWorld, times: int) -> list[tuple[int, int, int, int]]:
    """Scan, noting the counters after each scan."""
    seen = []
    for _ in range(times):
        await w.scan()
        seen.append(w.counters())
    return seen


def test_first_scan_only_takes_checksums_and_the_second_merges() -> None:
    async def body(w: KernelWorld) -> None:
        assert await scans(w, 4) == [(0, 0, 0, 8), (1, 7, 0, 0), (1, 7, 0, 0), (1, 7, 0, 0)]

    w = run(body, LARGE, process("A", *[8] * 8, mergeable=True))
    assert w.shot("A") == Shot("0" * 8, "K" * 8, (8,) * 8, ("A0",) * 8)


def test_second_page_of_a_pair_is_the_one_that_becomes_the_ksm_page() -> None:
    async def body(w: KernelWorld) -> None:
        first, second, *_ = w.frames("A")
        await w.scan(2)
        assert set(w.frames("A")) == {second}
        assert w.g.pages[first].count.value == 0

    run(body, process("A", 8, 8, 8, mergeable=True))


def test_page_that_keeps_changing_stays_volatile() -> None:
    async def body(w: KernelWorld) -> None:
        seen = []
        for number in range(5):
            if number:
                await w.store("A:6", 50 + number)
            await w.scan()
            seen.append(w.counters())
        assert seen == [(0, 0, 0, 10)] + [(2, 5, 2, 1)] * 4
        assert await scans(w, 2) == [(2, 5, 3, 0)] * 2

    w = run(body, LARGE, process("A", 1, 2, 101, 1, 1, 2, 50, 1, 102, 2, mergeable=True))
    shot = w.shot("A")
    assert isinstance(shot, Shot)
    assert shot.ksm == "KKpKKKpKpK"
    assert shot.mapcount == (4, 3, 1, 4, 4, 3, 1, 4, 1, 3)


def test_newcomer_joins_a_ksm_page_at_its_first_scan() -> None:
    async def body(w: KernelWorld) -> None:
        assert await scans(w, 3) == [(0, 0, 0, 2), (1, 1, 0, 0), (1, 1, 0, 0)]
        await w.store("C:0", 9)
        await w.madvise("C:0", 1, mergeable=True)
        assert await scans(w, 2) == [(1, 2, 0, 0)] * 2

    one = [process(name, 9, mergeable=True) for name in "AB"]
    w = run(body, *one, process("C", "-"))
    assert {w.page(f"{name}:0") for name in "ABC"} == {w.page("A:0")}


def test_untouched_and_unmergeable_pages_are_passed_over() -> None:
    async def body(w: KernelWorld) -> None:
        assert await scans(w, 3) == [(0, 0, 0, 2), (1, 1, 0, 0), (1, 1, 0, 0)]

    w = run(body, process("A", 4, 4, "-", mergeable=True), process("B", 4))
    assert w.shot("A") == Shot("00-", "KK-", (2, 2, -1), ("A0", "A0", None))
    assert w.shot("B") == Shot("0", "p", (1,), ("B0",))


def test_zero_page_is_passed_over() -> None:
    async def body(w: KernelWorld) -> None:
        for number in range(2):
            await w.load(f"A:{number}")
        assert await scans(w, 2) == [(0, 0, 0, 1), (0, 0, 1, 0)]

    run(body, process("A", "-", "-", 5, mergeable=True))


def test_area_that_was_never_written_is_skipped() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        assert w.counters() == (0, 0, 0, 0)
        assert len(w.ksm._mm_list) == 1

    run(body, process("A", "-", "-", mergeable=True))


def test_batches_of_two_pages_merge_two_at_a_time() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        seen = []
        for _ in range(5):
            before = w.ksm.cursor.seqnr.value
            await w.drain()
            await w.batch(2)
            seen.append((w.counters(), w.ksm.cursor.seqnr.value - before))
        assert seen == [
            ((1, 1, 0, 4), 0),
            ((1, 3, 0, 2), 0),
            ((1, 5, 0, 0), 0),
            ((1, 5, 0, 0), 1),
            ((1, 5, 0, 0), 0),
        ]

    run(body, process("A", *[8] * 6, mergeable=True))


def test_written_ksm_page_is_volatile_then_unshared_then_merged_again() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (1, 5, 0, 0)
        await w.store("A:3", 12)
        assert w.counters() == (1, 5, 0, 0)
        assert await scans(w, 3) == [(1, 4, 0, 1), (1, 4, 1, 0), (1, 4, 1, 0)]
        await w.store("A:3", 11)
        assert await scans(w, 2) == [(1, 5, 0, 0)] * 2

    run(body, process("A", *[11] * 6, mergeable=True))


def test_ksm_page_keeps_its_node_until_its_last_user_has_written() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        await w.store("A:0", 14)
        assert await scans(w, 3) == [(1, 0, 0, 1), (1, 0, 1, 0), (1, 0, 1, 0)]
        await w.store("A:1", 15)
        assert await scans(w, 3) == [(0, 0, 1, 1), (0, 0, 2, 0), (0, 0, 2, 0)]

    run(body, process("A", 13, 13, mergeable=True))


def test_unshared_page_that_takes_a_merged_content_joins_at_the_next_scan() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (1, 4, 1, 0)
        await w.store("A:5", 17)
        assert await scans(w, 2) == [(1, 5, 0, 0)] * 2

    run(body, process("A", 17, 17, 17, 17, 17, 18, mergeable=True))


def test_unmapped_addresses_lose_their_items_at_the_next_scan() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        await w.munmap("A:0", 4)
        assert w.counters() == (1, 7, 0, 0)
        assert await scans(w, 2) == [(1, 3, 0, 0)] * 2
        await w.munmap("A:4", 4)
        assert w.counters() == (1, 3, 0, 0)
        assert await scans(w, 2) == [(0, 0, 0, 0)] * 2

    run(body, LARGE, process("A", *[26] * 8, mergeable=True))


def test_address_space_without_mergeable_areas_is_forgotten() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.munmap("A:0", 2)
        await w.scan()
        assert w.ksm._mm_list == ()
        assert w.ksm.list_empty.value
        assert not mm.flags.has(MMF_VM_MERGEABLE)
        assert mm.mm_count.value == 1

    run(body, process("A", 1, 2, mergeable=True))


def test_exited_process_is_forgotten_with_all_its_items() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(2)
        assert w.counters() == (1, 1, 1, 0)
        await w.exit("A")
        assert w.counters() == (1, 1, 1, 0)
        await w.scan()
        assert w.counters() == (1, 0, 0, 0)
        assert [slot.mm for slot in w.ksm._mm_list] == [w.mm("B")]

    run(body, process("A", 7, 8, mergeable=True), process("B", 7, mergeable=True))


def test_cursor_goes_on_where_the_last_batch_ended() -> None:
    async def body(w: KernelWorld) -> None:
        await w.batch(3)
        cursor = w.ksm.cursor
        assert cursor._mm_slot.mm is w.mm("B")
        assert cursor._address == w.address("B:0") + 4096
        assert cursor._rmap_list == 1
        await w.batch(100)
        assert cursor._mm_slot is w.ksm.head
        assert cursor.seqnr.value == 1

    run(body, process("A", 1, 2, mergeable=True), process("B", 3, 4, mergeable=True))


def test_process_registered_during_a_scan_is_scanned_last() -> None:
    async def body(w: KernelWorld) -> None:
        await w.batch(3)
        await w.madvise("C:0", 1, mergeable=True)
        order = [slot.mm and slot.mm.label for slot in w.ksm._mm_list]
        assert order == ["A", "C", "B"]
        await w.batch(100)
        assert w.counters() == (0, 0, 0, 3)
        await w.batch(100)
        assert w.counters() == (0, 0, 3, 1)

    parts = [process("A", 1, 2, mergeable=True), process("B", 3, mergeable=True), process("C", 5)]
    run(body, *parts)


def test_every_full_scan_begins_with_an_empty_unstable_tree() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(2)
        assert len(w.ksm._unstable_root) == 2
        item = w.item("A:0")
        await w.store("A:0", 9)
        await w.scan()
        assert w.ksm._unstable_root == [w.item("A:1")]
        assert not item._address & (UNSTABLE_FLAG | STABLE_FLAG)

    run(body, process("A", 1, 2, mergeable=True))


def test_page_in_a_pagevec_is_merged_only_after_a_drain() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 8)
        await w.store("A:1", 8)
        await w.batch(100)
        await w.batch(100)
        assert w.counters()[:2] == (0, 0)
        await w.drain()
        await w.batch(100)
        assert w.counters()[:2] == (1, 1)

    run(body, process("A", "-", "-", mergeable=True))


def test_pages_of_two_areas_of_one_process_merge() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(2)
        assert w.counters() == (1, 1, 0, 0)

    run(body, process("A", 5, mergeable=True) + vma([5], mergeable=True))


def test_scan_without_memory_for_an_item_stops_and_goes_on_later() -> None:
    async def body(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append(w.counters())
        await w.batch(100)
        w.log.append(w.counters())

    w = run(
        body,
        process("A", 1, 2, mergeable=True),
        faults=["enomem"],
        choices=Choices(faults=[0, 1]),
    )
    assert w.log == [(0, 0, 0, 1), (0, 0, 0, 2)]


def test_scan_of_an_empty_list_touches_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        await w.batch(100)
        assert w.ksm.cursor.seqnr.value == 0

    run(body, process("A", 1))


def test_last_registered_process_may_not_exit_between_two_looks_at_the_list() -> None:
    """A real defect of the time: the scan then takes the list's head for a slot."""

    async def scanner(w: KernelWorld) -> None:
        await w.batch(100)

    async def leaver(w: KernelWorld) -> None:
        await w.exit("A")

    schedule = turns("scanner@scan_get_next_rmap_item.4", "leaver", "scanner")
    w = KernelWorld(
        process("A", 1, mergeable=True), actors=("scanner", "leaver"), strategy=schedule
    )
    assert w.go(scanner, leaver).found == ["bugs:null-dereference"]


def test_exit_waits_for_the_scan_inside_its_page_tables() -> None:
    async def scanner(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append("scanned")

    async def leaver(w: KernelWorld) -> None:
        await w.exit("A")
        w.log.append("left")

    schedule = turns("scanner@follow_page.2", "leaver", "scanner", "leaver")
    parts = (process("A", 1, 2, mergeable=True), process("B", 3, mergeable=True))
    w = KernelWorld(*parts, actors=("scanner", "leaver"), strategy=schedule)
    assert w.go(scanner, leaver).found == []
    assert sorted(w.log) == ["left", "scanned"]
    assert [slot.mm for slot in w.ksm._mm_list] == [w.mm("B")]


def test_item_is_dropped_when_its_page_is_migrating() -> None:
    async def mover(w: KernelWorld) -> None:
        assert await w.move("A:0", node=1) == [1]

    async def scanner(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append(w.counters())

    schedule = turns("mover@move_to_new_page.1", "scanner", "mover")
    w = KernelWorld(
        process("A", 1, 2, mergeable=True, checksum=True),
        actors=("mover", "scanner"),
        strategy=schedule,
    )
    assert w.go(mover, scanner).found == []
    assert w.log == [(0, 0, 1, 0)]


def test_ksmd_sleeps_between_batches_and_waits_when_it_should_not_run() -> None:
    log = Log()
    w = KernelWorld(
        ksm(batches=2, pages_to_scan=2),
        process("A", 1, 2, 3, mergeable=True),
        actor("ksmd", "ksmd"),
        recorder=log,
    ).go()
    assert w.found == []
    assert w.rt.stop_reason == "done"
    assert w.counters() == (0, 0, 0, 3)
    assert w.rt.clock.jiffies >= 2


def test_stopped_ksmd_scans_nothing_and_does_not_keep_the_execution_going() -> None:
    w = KernelWorld(
        ksm(run=0, batches=2), process("A", 1, 1, mergeable=True), actor("ksmd", "ksmd")
    ).go()
    assert w.found == []
    assert w.rt.stop_reason == "done"
    assert w.counters() == (0, 0, 0, 0)


def test_registration_of_the_first_process_wakes_ksmd() -> None:
    async def daemon(w: KernelWorld) -> None:
        await ksm_scan_thread(w.g, batches=3)

    async def adviser(w: KernelWorld) -> None:
        await w.madvise("A:0", 2, mergeable=True)

    schedule = turns("daemon", "adviser", "daemon")
    w = KernelWorld(process("A", 6, 6), actors=("daemon", "adviser"), strategy=schedule)
    assert w.go(daemon, adviser).found == []
    assert w.counters() == (1, 1, 0, 0)
