# SPDX-License-Identifier: GPL-2.0-or-later
"""move_pages(2): its statuses, one a page; those of whole calls as a kernel 2.6.33.3 wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EACCES, EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM, ESRCH

from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.mm.migrate_syscalls import DO_PAGES_STAT_CHUNK_NR, PM_CHUNK_NR, sys_move_pages
from ksmtrio.mm.mm_types import VM_IO
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import KernelWorld, Log, ksm, machine, process, run, turns, vma

LARGE = machine(pages_per_block=16)
STACK = vma([1], node=0)
"""Every process has a further area above those a test looks at."""
NOT_WRITTEN = -9999


async def call(
    w: KernelWorld,
    pages: Sequence[int],
    nodes: Sequence[int] | None,
    *,
    flags: int = MPOL_MF_MOVE,
    writable: int | None = None,
) -> tuple[int, list[int]]:
    """Call move_pages on A; return answer and statuses, of which `writable` can be written."""
    status = [NOT_WRITTEN] * (len(pages) if writable is None else writable)
    err = await sys_move_pages(w.g, w.mm("A"), len(pages), pages, nodes, status, flags)
    return err, status


def test_statuses_of_ordinary_ksm_and_missing_pages() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        start = w.address("A:0")
        pages = [start + number * PAGE_SIZE for number in range(10)]
        await w.load("A:7")

        async def move(node: int | None, count: int = 10) -> list[int]:
            status = [NOT_WRITTEN] * count
            nodes = None if node is None else [node] * count
            flags = 0 if node is None else MPOL_MF_MOVE
            err = await sys_move_pages(w.g, mm, count, pages, nodes, status, flags)
            assert err == (0 if NOT_WRITTEN not in status else -ENODEV)
            return status

        ksm_and_holes = [-ENOENT] * 6
        assert await move(None) == [0, 0, *ksm_and_holes, 0, -ENOENT]
        assert await move(1) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await move(None) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await move(1) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await move(0) == [0, 0, *ksm_and_holes, 0, -ENOENT]
        assert await move(7, 3) == [NOT_WRITTEN] * 3
        assert w.counters()[:2] == (1, 3)

    contents: list[int | str] = [61, 62, 60, 60, 60, 60, "-", "-", 63]
    prepare = "\n".join([process("A", *contents), STACK])

    async def merged_first(w: KernelWorld) -> None:
        await w.madvise("A:2", 4, mergeable=True)
        await w.scan(3)
        await body(w)

    w = run(merged_first, LARGE, prepare)
    assert w.contents("A")[:9] == [61, 62, 60, 60, 60, 60, None, 0, 63]


def test_absent_node_is_refused_before_anything_moves() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.address("A:0"), w.address("A:1")]
        assert await call(w, pages, [1, 7]) == (-ENODEV, [NOT_WRITTEN] * 2)
        assert await call(w, pages, [1, -1]) == (-ENODEV, [NOT_WRITTEN] * 2)
        assert await call(w, pages, [1, 64]) == (-ENODEV, [NOT_WRITTEN] * 2)
        assert await w.query("A:0", "A:1") == [0, 0]

    run(body, process("A", 1, 2))


def test_node_without_memory_is_as_good_as_absent() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await w.move("A:0", node=1) == -ENODEV
        assert await w.online(1) == 0
        assert await w.move("A:0", node=1) == [1]

    run(body, process("A", 1))


def test_candidates_moved_before_they_merge_stay_on_their_new_node() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        assert w.counters() == (0, 0, 0, 4)
        assert await w.move("A:0", "A:1", "A:2", "A:3", node=1) == [1, 1, 1, 1]
        assert w.counters() == (0, 0, 0, 4)
        for _ in range(3):
            await w.scan()
            assert w.counters() == (1, 2, 1, 0)

    w = run(body, process("A", 71, 71, 71, 72, mergeable=True))
    assert w.shot("A").node == "1111"  # type: ignore[union-attr]
    assert w.shot("A").ksm == "KKKp"  # type: ignore[union-attr]


def test_address_above_every_area_is_a_fault() -> None:
    async def body(w: KernelWorld) -> None:
        for beyond in (w.address("A:0") + PAGE_SIZE, -1, 1 << 64):
            expected = -EFAULT if beyond != 1 << 64 else -ENOENT  # wraps to address 0, a hole
            assert await call(w, [beyond], None) == (0, [expected])
            assert await call(w, [beyond], [1]) == (0, [expected])

    run(body, process("A", 1))


def test_page_listed_twice_is_busy_the_second_time() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:0", node=1) == [1, -EBUSY]

    run(body, process("A", 1))


def test_page_in_a_pagevec_is_drained_first() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        assert await w.move("A:0", node=1) == [1]

    run(body, process("A", "-"))


def test_ksm_page_passes_for_missing_even_with_move_all() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:1", node=1, everyone=True) == [-ENOENT, -ENOENT]
        assert await w.move("A:0", node=0, everyone=True) == [-ENOENT]

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_kernel_that_does_not_skip_ksm_pages_says_what_is_in_the_way() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.query("A:0") == [0]
        assert await w.move("A:0", node=0) == [0]
        assert await w.move("A:0", node=1) == [-EACCES]
        assert await w.move("A:0", node=1, everyone=True) == [-EBUSY]

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_lack_of_memory_fails_the_whole_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:1", node=1) == -ENOMEM

    run(body, process("A", 1, 2), faults=["enomem"], choices=Choices(faults=[0, 0, 1]))


def test_full_node_fails_the_whole_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", node=1) == -ENOMEM

    small = machine(pages_per_block=2)
    run(body, small, process("A", 1), process("B", 1, 2, node=1))


def test_page_that_goes_ksm_after_the_look_is_busy() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(await w.move("A:0", node=1))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)

    schedule = turns("mover@unmap_and_move.3", "ksmd", "mover")
    parts = (process(n, 7, mergeable=True, checksum=True, pte="ro") for n in "BA")
    w = KernelWorld(*parts, actors=("mover", "ksmd"), strategy=schedule)
    assert w.go(mover, ksmd).found == []
    assert w.log == [[-EBUSY]]
    assert w.counters() == (1, 1, 0, 0)


def test_checks_come_in_the_order_of_the_kernel() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.address("A:0")]
        assert await call(w, pages, [7], flags=MPOL_MF_MOVE | MPOL_MF_STRICT) == (
            -EINVAL,
            [NOT_WRITTEN],
        )
        assert await call(w, pages, [1], flags=64) == (-EINVAL, [NOT_WRITTEN])
        assert await call(w, pages, None, flags=64) == (-EINVAL, [NOT_WRITTEN])
        assert await call(w, pages, None, flags=MPOL_MF_MOVE_ALL) == (0, [0])
        assert await call(w, [], [], flags=MPOL_MF_MOVE) == (0, [])
        await w.exit("A")
        assert await call(w, pages, [7], flags=64) == (-EINVAL, [NOT_WRITTEN])
        assert await call(w, pages, [7]) == (-ESRCH, [NOT_WRITTEN])
        assert await call(w, pages, None) == (-ESRCH, [NOT_WRITTEN])

    run(body, process("A", 1))


def test_array_that_ends_too_soon_is_a_fault() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.address("A:0"), w.address("A:1")]
        assert await call(w, pages, [1]) == (-EFAULT, [NOT_WRITTEN] * 2)
        assert await w.query("A:0", "A:1") == [0, 0]
        assert await call(w, pages, [1, 1], writable=1) == (-EFAULT, [1])
        assert await w.query("A:0", "A:1") == [1, 1]
        assert await call(w, pages, None, writable=1) == (-EFAULT, [1])
        status = [NOT_WRITTEN] * 3
        assert await sys_move_pages(w.g, w.mm("A"), 3, pages, None, status, 0) == -EFAULT
        assert await sys_move_pages(w.g, w.mm("A"), -1, pages, [0, 0], status, 0) == -EFAULT
        assert status == [NOT_WRITTEN] * 3

    run(body, process("A", 1, 2))


def test_chunk_that_fails_leaves_its_statuses_and_the_pages_of_earlier_ones_moved() -> None:
    assert PM_CHUNK_NR == 169

    async def body(w: KernelWorld) -> None:
        first, last = w.address("A:0"), w.address("A:1")
        pages = [first] * PM_CHUNK_NR + [last]
        nodes = [1] * PM_CHUNK_NR + [7]
        err, status = await call(w, pages, nodes)
        assert err == -ENODEV
        assert status == [1] + [-EBUSY] * (PM_CHUNK_NR - 1) + [NOT_WRITTEN]
        assert await w.query("A:0", "A:1") == [1, 0]

    run(body, process("A", 1, 2))


def test_node_is_looked_at_chunk_by_chunk() -> None:
    """A node that goes offline after the first chunk stops the second."""

    async def mover(w: KernelWorld) -> None:
        first, last = w.address("A:0"), w.address("A:1")
        w.log.append(await call(w, [first] * PM_CHUNK_NR + [last], [1] * (PM_CHUNK_NR + 1)))

    async def hotplug(w: KernelWorld) -> None:
        await w.drain()
        assert await w.offline(1) == 0

    schedule = turns("mover@do_pages_move.4", "hotplug", "mover")
    parts = (machine(pages_per_block=16), process("A", 1, 2))
    w = KernelWorld(*parts, actors=("mover", "hotplug"), strategy=schedule)
    assert w.go(mover, hotplug).found == []
    ((err, status),) = w.log
    assert err == -ENODEV
    assert status[0] == 1
    assert status[-1] == NOT_WRITTEN
    assert w.shot("A").node == "00"  # type: ignore[union-attr]


def test_node_that_gains_memory_during_the_call_is_none_the_task_may_use() -> None:
    async def mover(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        w.log.append(await call(w, [w.address("A:0")], [1]))

    async def hotplug(w: KernelWorld) -> None:
        assert await w.online(1) == 0

    schedule = turns("mover@do_pages_move.2", "hotplug", "mover")
    w = KernelWorld(process("A", 1), actors=("mover", "hotplug"), strategy=schedule)
    assert w.go(mover, hotplug).found == []
    assert w.log == [(-EACCES, [NOT_WRITTEN])]


def test_query_takes_mmap_sem_once_for_sixteen_addresses() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.address("A:0")] * (2 * DO_PAGES_STAT_CHUNK_NR + 1)
        assert await call(w, pages, None) == (0, [0] * len(pages))

    log = Log()
    run(body, process("A", 1), recorder=log)
    assert [at for at, _, _ in log.operations].count("do_pages_stat_array.2") == 3


def test_area_that_cannot_migrate_is_a_fault_to_move_but_not_to_ask_about() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= VM_IO
        assert await call(w, [w.address("A:0")], [1]) == (0, [-EFAULT])
        assert await call(w, [w.address("A:0")], None) == (0, [0])
        w.vma("A:0")._vm_flags &= ~VM_IO

    run(body, process("A", 1))


def test_pages_of_a_fork_are_left_to_move_all() -> None:
    async def body(w: KernelWorld) -> None:
        refs = ("A:0", "A:1", "A:2")
        assert await w.move(*refs, node=1) == [-EACCES] * 3
        assert await w.move(*refs, node=1, everyone=True) == [1] * 3
        for name in "AB":
            assert w.shot(name).node == "111"  # type: ignore[union-attr]
            assert w.shot(name).mapcount == (2, 2, 2)  # type: ignore[union-attr]

    run(body, process("A", 64, 65, 66), '[[process]]\nname = "B"\nforked_from = "A"')


def test_full_node_is_not_reclaimed_from() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", node=1) == -ENOMEM
        assert w.shot("B").ksm == "pp"  # type: ignore[union-attr]

    small = machine(pages_per_block=2, swap_slots=4)
    run(body, small, process("A", 1), process("B", 1, 2, node=1))


def test_task_that_exits_meanwhile_is_torn_down_by_the_caller() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(await call(w, [w.address("A:0")], [1]))
        assert w.mm("A").mm_users.value == 0

    async def task(w: KernelWorld) -> None:
        await w.exit("A")
        w.log.append("exited")
        assert w.mm("A").mm_users.value == 1
        assert await call(w, [w.address("A:0")], [1]) == (-ESRCH, [NOT_WRITTEN])

    schedule = turns("mover@unmap_and_move.3", "task", "mover")
    w = KernelWorld(process("A", 1), actors=("mover", "task"), strategy=schedule)
    assert w.go(mover, task).found == []
    assert w.log == ["exited", (0, [1])]
    assert w.contents("A") == [None]
