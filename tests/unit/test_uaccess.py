# SPDX-License-Identifier: GPL-2.0-or-later
"""User loads and stores: what they see, which bits they set, when they fault."""

from __future__ import annotations

from errno import EFAULT

import pytest

from ksmtrio.uapi.uaccess import load, store
from ksmtrio.units import PAGE_SIZE, TASK_SIZE
from tests.kernel_world import KernelWorld, ksm, process, run, turns


def test_store_is_seen_by_later_loads() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.load("A:0") == (0, 1)
        assert await w.store("A:0", 2) == 0
        assert await w.load("A:0") == (0, 2)

    assert run(body, process("A", 1)).contents("A") == [2]


def test_halves_of_a_page_are_stored_one_by_one() -> None:
    async def body(w: KernelWorld) -> None:
        mm, address = w.mm("A"), w.address("A:0")
        assert await store(w.g, mm, address, 1, 9) == 0
        assert await load(w.g, mm, address, 0) == (0, 1)
        assert await load(w.g, mm, address, 1) == (0, 9)

    assert run(body, process("A", 1)).contents("A") == [(1, 9)]


def test_load_sets_young_and_store_sets_dirty_as_well() -> None:
    async def body(w: KernelWorld) -> None:
        cell = w.mm("A").pte(w.address("A:0"))
        cell.value = cell.value._replace(young=False, dirty=False)
        await w.load("A:0")
        assert (cell.value.young, cell.value.dirty) == (True, False)
        await w.store("A:0", 2)
        assert (cell.value.young, cell.value.dirty) == (True, True)

    run(body, process("A", 1))


def test_store_through_a_writable_pte_needs_no_fault() -> None:
    async def body(w: KernelWorld) -> None:
        before = w.rt.points
        await store(w.g, w.mm("A"), w.address("A:0"), 0, 2)
        assert w.rt.points == before + 1

    run(body, process("A", 1))


def test_access_after_munmap_is_a_segmentation_fault() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("A:0", 1)
        assert await w.load("A:0") == (-EFAULT, 0)
        assert await w.store("A:0", 2) == -EFAULT

    run(body, process("A", 1))


def test_access_after_exit_is_a_segmentation_fault() -> None:
    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        assert (await w.load("A:0"))[0] == -EFAULT

    KernelWorld(process("A", 1, mergeable=True)).go(body, rest=False)


def test_writers_of_one_ksm_page_get_a_copy_each() -> None:
    async def a(w: KernelWorld) -> None:
        await w.store("A:0", 1)

    async def b(w: KernelWorld) -> None:
        await w.store("B:0", 2)

    schedule = turns("a@do_wp_page.9", "b@do_wp_page.9", "a", "b")
    parts = (ksm(["A:0", "B:0"]), *(process(n, 7, mergeable=True) for n in "AB"))
    w = KernelWorld(*parts, actors=("a", "b"), strategy=schedule)
    assert w.go(a, b).found == []
    assert (w.contents("A"), w.contents("B")) == ([1], [2])


def test_store_waits_out_a_migration_and_is_not_lost() -> None:
    async def mover(w: KernelWorld) -> None:
        await w.move("A:0", node=1)

    async def writer(w: KernelWorld) -> None:
        await w.store("A:0", 5)

    schedule = turns("mover@migrate_page_copy.1#2", "writer", "mover", "writer")
    w = KernelWorld(process("A", 1), actors=("mover", "writer"), strategy=schedule)
    assert w.go(mover, writer).found == []
    assert w.contents("A") == [5]


@pytest.mark.parametrize("address", [0, -1, TASK_SIZE, 1 << 63, 1 << 64, -PAGE_SIZE])
def test_access_to_nowhere_is_a_segmentation_fault(address: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await load(w.g, w.mm("A"), address, 0) == (-EFAULT, 0)
        assert await store(w.g, w.mm("A"), address, 1, 5) == -EFAULT

    run(body, process("A", 1))


def test_halves_are_counted_from_the_address() -> None:
    async def body(w: KernelWorld) -> None:
        mm, address = w.mm("A"), w.address("A:0")
        assert await store(w.g, mm, address + PAGE_SIZE // 2 + 7, 0, 9) == 0
        assert await load(w.g, mm, address, 1) == (0, 9)
        assert await load(w.g, mm, address, 2) == (0, 2)

    run(body, process("A", 1, 2))


def test_a_task_that_exited_accesses_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        assert await load(w.g, w.mm("A"), w.address("A:0"), 0) == (-EFAULT, 0)
        assert await store(w.g, w.mm("A"), w.address("A:0"), 0, 5) == -EFAULT

    run(body, process("A", 1))
