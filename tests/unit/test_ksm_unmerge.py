# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking apart everything that was merged. Counters and contents are a kernel 2.6.33.3's."""

from __future__ import annotations

from errno import ENOMEM

from ksmtrio.mm.ksm_unmerge import unmerge_and_remove_all_rmap_items
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE
from ksmtrio.sched.choices import Choices
from tests.kernel_world import (
    AT,
    KernelWorld,
    Shot,
    actor,
    ksm,
    machine,
    process,
    round_robin,
    run,
    turns,
)

RUN = "/sys/kernel/mm/ksm/run"


def slots(w: KernelWorld) -> list[str]:
    return [slot.mm.label for slot in w.ksm._mm_list if slot.mm is not None]


async def unmerge(w: KernelWorld) -> int:
    await w.ksm.ksm_thread_mutex.lock(AT)
    err = await unmerge_and_remove_all_rmap_items(w.g)
    await w.ksm.ksm_thread_mutex.unlock(AT)
    return err


def test_everything_comes_apart_and_merges_again() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan(3)
        assert w.counters() == (2, 4, 2, 0)
        assert await unmerge(w) == 0
        assert w.counters() == (0, 0, 0, 0)
        assert w.ksm.cursor.seqnr.value == 0
        assert w.ksm.cursor._mm_slot is w.ksm.head
        shot = w.shot("A")
        assert isinstance(shot, Shot)
        assert (shot.ksm, shot.mapcount) == ("p" * 8, (1,) * 8)
        await w.scan()
        assert w.counters() == (0, 0, 0, 8)
        await w.scan()
        assert w.counters() == (2, 4, 2, 0)

    contents = (22, 22, 22, 22, 23, 23, 24, 25)
    w = run(body, machine(pages_per_block=16), process("A", *contents, mergeable=True))
    assert w.contents("A") == list(contents)


def test_nobody_registered_is_done_at_once() -> None:
    async def body(w: KernelWorld) -> None:
        assert await unmerge(w) == 0

    run(body, process("A", 1))


def test_areas_that_are_not_mergeable_are_passed_over() -> None:
    async def body(w: KernelWorld) -> None:
        await w.madvise("A:2", 1, mergeable=False)
        assert await unmerge(w) == 0
        assert w.counters() == (0, 0, 0, 0)

    w = run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, 9, mergeable=True))
    assert w.contents("A") == [7, 7, 9]


def test_address_space_that_is_exiting_is_forgotten() -> None:
    async def task(w: KernelWorld) -> None:
        await w.exit("A")

    async def writer(w: KernelWorld) -> None:
        assert w.mm("A").mm_users.value == 0
        assert slots(w) == ["A", "B"]
        assert await unmerge(w) == 0
        assert slots(w) == ["B"]
        assert not w.mm("A").flags.has(MMF_VM_MERGEABLE)

    parts = (ksm(["A:0", "B:0"]), *(process(name, 7, mergeable=True) for name in "AB"))
    schedule = turns("task@__ksm_exit.3#2", "task", "writer")
    w = KernelWorld(*parts, actors=("task", "writer"), strategy=schedule)
    assert w.go(task, writer).found == []
    assert w.mm("A").dead is not None
    assert w.contents("B") == [7]


def test_exit_in_the_middle_ends_the_work_on_that_address_space() -> None:
    async def writer(w: KernelWorld) -> None:
        assert await unmerge(w) == 0
        assert slots(w) == ["B"]

    async def task(w: KernelWorld) -> None:
        await w.exit("A")

    parts = (ksm(["A:0", "A:1", "B:0"]), process("A", 7, 7, mergeable=True))
    schedule = turns("writer@break_ksm.4/put_page", "task", "writer", "task")
    w = KernelWorld(
        *parts,
        process("B", 7, mergeable=True),
        actors=("writer", "task"),
        strategy=schedule,
    )
    assert w.go(writer, task).found == []
    assert w.mm("A").dead is not None
    assert w.contents("B") == [7]


def test_who_registers_meanwhile_is_passed_over_and_stays_registered() -> None:
    async def writer(w: KernelWorld) -> None:
        assert await unmerge(w) == 0
        assert slots(w) == ["B", "A"]
        assert w.counters() == (0, 0, 0, 0)

    async def newcomer(w: KernelWorld) -> None:
        assert await w.madvise("B:0", 1, mergeable=True) == 0

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True), process("B", 8))
    schedule = turns("writer@break_ksm.4/put_page", "newcomer", "writer")
    w = KernelWorld(*parts, actors=("writer", "newcomer"), strategy=schedule)
    assert w.go(writer, newcomer).found == []


def test_without_memory_the_rest_stays_merged_and_the_next_scan_begins_anew() -> None:
    async def body(w: KernelWorld) -> None:
        assert await unmerge(w) == -ENOMEM
        assert w.ksm.cursor._mm_slot is w.ksm.head
        assert w.counters() == (1, 2, 0, 0)
        assert w.shot("A").ksm == "pKK"  # type: ignore[union-attr]
        assert await unmerge(w) == 0
        assert w.counters() == (0, 0, 0, 0)

    parts = (ksm(["A:0", "A:1", "A:2"]), process("A", 7, 7, 7, mergeable=True))
    run(body, *parts, faults=["enomem"], choices=Choices(faults=[0, 1]))


def test_node_stays_in_the_tree_until_a_search_meets_it_where_a_fork_kept_the_page() -> None:
    async def body(w: KernelWorld) -> None:
        assert await unmerge(w) == 0
        assert w.shot("A").ksm + w.shot("B").ksm == "pppp"  # type: ignore[union-attr]
        (node,) = w.ksm._stable_root
        assert not node._hlist
        assert not w.g.pages[node.kpfn.value].count.value
        await w.scan()
        await w.scan()
        assert node not in w.ksm._stable_root

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, '[[process]]\nname = "B"\nforked_from = "A"')


def test_races_with_ksmd_stores_and_exits_leave_nothing_behind() -> None:
    async def writer(w: KernelWorld) -> None:
        for text in ("2", "1", "2"):
            assert await w.write(RUN, text) == 0

    async def task(w: KernelWorld) -> None:
        await w.store("A:0", 9)
        await w.madvise("A:0", 3, mergeable=False)
        await w.madvise("A:0", 3, mergeable=True)
        await w.store("A:1", 9)

    async def leaver(w: KernelWorld) -> None:
        await w.exit("B")

    for seed in range(40):
        parts = (
            machine(pages_per_block=16),
            ksm(["A:0", "A:1", "B:0"], batches=6),
            process("A", 7, 7, 8, mergeable=True),
            process("B", 7, 8, mergeable=True),
        )
        kinds = [actor(name, "user_task") for name in ("writer", "task", "leaver")]
        w = KernelWorld(*parts, *kinds, actor("ksmd", "ksmd"), strategy=round_robin(seed))
        assert w.go(writer, task, leaver).found == [], seed
        assert w.contents("A") == [9, 9, 8]
