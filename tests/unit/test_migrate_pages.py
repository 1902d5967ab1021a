# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages(2): mm/mempolicy.py. Whole calls as a kernel 2.6.33.3 answered them."""

from __future__ import annotations

from errno import EINVAL, ENOMEM, ESRCH

import pytest

from ksmtrio.errors import KernelBug
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, _next_pair, do_migrate_pages, sys_migrate_pages
from ksmtrio.mm.mm_types import VM_RESERVED
from ksmtrio.sched.choices import Choices
from ksmtrio.uapi import syscalls
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import KernelWorld, Log, Shot, ksm, machine, process, run, turns, vma

FORK_OF_A = '[[process]]\nname = "B"\nforked_from = "A"'


def nodes_of(w: KernelWorld, name: str) -> str:
    """Return where the pages of a process are."""
    shot = w.shot(name)
    assert isinstance(shot, Shot)
    return shot.node


def test_ordinary_pages_move_there_and_back_and_ksm_pages_stay() -> None:
    async def body(w: KernelWorld) -> None:
        await w.madvise("A:4", 4, mergeable=True)
        await w.scan(3)
        assert w.counters() == (1, 3, 0, 0)
        before = w.frames("A")
        assert await syscalls.migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        assert nodes_of(w, "A") == "11110000"
        assert w.frames("A")[4:] == before[4:]
        assert await syscalls.migrate_pages(w.g, w.mm("A"), (1,), (0,)) == 0
        assert nodes_of(w, "A") == "00000000"
        assert w.shot("A").mapcount == (1, 1, 1, 1, 4, 4, 4, 4)  # type: ignore[union-attr]
        await w.scan(3)
        assert w.counters() == (1, 3, 0, 0)

    contents = (91, 92, 93, 94, 90, 90, 90, 90)
    w = run(body, machine(pages_per_block=32), process("A", *contents))
    assert w.contents("A") == list(contents)


def test_every_area_is_walked_over_the_holes() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        assert nodes_of(w, "A") == "1-11"

    run(body, "\n".join([process("A", 1, "-", 2), vma([3])]))


def test_areas_that_cannot_migrate_are_passed_over() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= VM_RESERVED
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        assert nodes_of(w, "A") == "01"
        w.vma("A:0")._vm_flags &= ~VM_RESERVED

    run(body, "\n".join([process("A", 1), vma([2])]))


def test_odd_masks() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        for old, new, answer in [
            ((64,), (1,), -EINVAL),
            ((0,), (-1,), -EINVAL),
            ((0,), (6,), -EINVAL),
            ((0,), (), 0),
            ((), (1,), 0),
            ((6,), (1,), 0),
            ((0,), (0,), 0),
            ((1,), (0,), 0),
        ]:
            assert await sys_migrate_pages(w.g, mm, old, new) == answer
        assert nodes_of(w, "A") == "0"
        assert mm.mm_users.value == 1
        await w.exit("A")
        assert await sys_migrate_pages(w.g, mm, (64,), (1,)) == -EINVAL
        assert await sys_migrate_pages(w.g, mm, (0,), (6,)) == -ESRCH

    run(body, process("A", 1))


def test_node_without_memory_is_no_target() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == -EINVAL

    run(body, process("A", 1))


@pytest.mark.parametrize(
    ("sources", "targets", "pairs"),
    [
        ([0], [1], [(0, 1)]),
        ([0, 1], [1, 0], []),
        ([0, 1], [2, 3], [(0, 2), (1, 3)]),
        ([0, 1], [1, 2], [(1, 2), (0, 1)]),
        ([0, 1, 2], [3], [(0, 3), (1, 3), (2, 3)]),
        ([1, 2], [0, 1], [(1, 0), (2, 1)]),
        ([0, 1, 2, 3], [1, 2, 3, 4], [(3, 4), (2, 3), (1, 2), (0, 1)]),
        ([0, 1, 2], [1, 3], [(1, 3), (0, 1), (2, 1)]),
    ],
)
def test_pairs_are_chosen_so_that_no_page_moves_twice(
    sources: list[int], targets: list[int], pairs: list[tuple[int, int]]
) -> None:
    left, seen = list(sources), []
    while (pair := _next_pair(left, sources, sorted(targets))) is not None:
        left.remove(pair[0])
        seen.append(pair)
    assert seen == pairs


def test_three_nodes_each_move_one_up() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0, 1), (1, 2)) == 0
        assert nodes_of(w, "A") == "12"

    run(body, machine(nodes=3), "\n".join([process("A", 1, node=0), vma([2], node=1)]))


def test_full_target_is_topped_up_from_elsewhere() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        assert sorted(nodes_of(w, "A")) == ["0", "1"]

    small = machine(pages_per_block=4)
    run(body, small, process("A", 1, 2), process("B", 1, 2, 3, node=1))


def test_lack_of_memory_ends_the_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == -ENOMEM
        assert nodes_of(w, "A") == "00"

    run(body, process("A", 1, 2), faults=["enomem"], choices=Choices(faults=[1]))


def test_pages_of_a_fork_move_only_with_move_all() -> None:
    async def body(w: KernelWorld) -> None:
        assert await do_migrate_pages(w.g, w.mm("A"), (0,), (1,), MPOL_MF_MOVE) == 0
        assert nodes_of(w, "A") == "00"
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        assert (nodes_of(w, "A"), nodes_of(w, "B")) == ("11", "11")

    run(body, process("A", 1, 2), FORK_OF_A)


def test_pages_in_the_way_are_counted_as_busy() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 1
        assert nodes_of(w, "A") == "001"

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, 8, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_page_that_goes_ksm_after_the_look_is_busy() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)

    schedule = turns("mover@unmap_and_move.3", "ksmd", "mover")
    parts = (process(n, 7, mergeable=True, checksum=True, pte="ro") for n in "BA")
    w = KernelWorld(*parts, actors=("mover", "ksmd"), strategy=schedule)
    assert w.go(mover, ksmd).found == []
    assert w.log == [1]
    assert w.counters() == (1, 1, 0, 0)


def test_address_space_without_areas_is_a_null_dereference() -> None:
    """Fixed much later (2024); until then any task could do it to itself."""

    async def body(w: KernelWorld) -> None:
        assert await w.munmap("A:0", 1) == 0
        await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,))

    w = KernelWorld(process("A", 1)).go(body)
    assert w.found == ["bugs:null-dereference"]
    assert not issubclass(KernelBug, AssertionError)


def test_mmap_sem_is_held_from_the_look_to_the_last_migration() -> None:
    async def mover(w: KernelWorld) -> None:
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0
        w.log.append("moved")

    async def task(w: KernelWorld) -> None:
        assert await w.munmap("A:0", 1) == 0
        w.log.append("unmapped")

    log = Log()
    schedule = turns("mover@unmap_and_move.3", "task", "mover", "task")
    w = KernelWorld(process("A", 1, 2), actors=("mover", "task"), strategy=schedule, recorder=log)
    assert w.go(mover, task).found == []
    assert w.log == ["moved", "unmapped"]
    assert w.address("A:1") - w.address("A:0") == PAGE_SIZE
