# SPDX-License-Identifier: GPL-2.0-or-later
"""mbind(2): its answers and what it moves. Those of whole calls are what a kernel 2.6.33.3 did.

Process A has four ordinary pages and four that are one KSM page.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, EIO

import pytest

from ksmtrio.mm.mempolicy import (
    MPOL_MF_MOVE,
    MPOL_MF_MOVE_ALL,
    MPOL_MF_STRICT,
    check_range,
    do_mbind,
)
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, Shot, ksm, machine, process, run, turns, vma

STRICT, MOVE, ALL = MPOL_MF_STRICT, MPOL_MF_MOVE, MPOL_MF_MOVE_ALL


def pages_on(node: int) -> tuple[str, ...]:
    """Return A as the programs make it: one area of eight pages, the last four advised."""
    area = vma([81, 82, 83, 84, 80, 80, 80, 80], node=node)
    return machine(pages_per_block=32), "\n".join([process("A"), area])


async def merge_the_last_four(w: KernelWorld) -> None:
    await w.madvise("A:4", 4, mergeable=True)
    await w.scan(3)
    await w.drain()
    assert w.counters() == (1, 3, 0, 0)


@pytest.mark.parametrize(
    ("first", "count", "flags", "ret", "node"),
    [
        (0, 4, 0, 0, "00000000"),
        (0, 4, STRICT, -EIO, "00000000"),
        (0, 4, MOVE, 0, "11110000"),
        (0, 4, MOVE | STRICT, 0, "11110000"),
        (0, 4, ALL, 0, "11110000"),
        (0, 4, ALL | STRICT, 0, "11110000"),
        (2, 4, 0, 0, "00000000"),
        (2, 4, STRICT, -EIO, "00000000"),
        (2, 4, MOVE, 0, "00110000"),
        (2, 4, MOVE | STRICT, 0, "00110000"),
        (2, 4, ALL, 0, "00110000"),
        (2, 4, ALL | STRICT, 0, "00110000"),
        (4, 4, STRICT, 0, "00000000"),
        (4, 4, ALL | STRICT, 0, "00000000"),
    ],
)
def test_binding_to_another_node_moves_ordinary_pages_and_passes_over_ksm_pages(
    first: int, count: int, flags: int, ret: int, node: str
) -> None:
    async def body(w: KernelWorld) -> None:
        await merge_the_last_four(w)
        assert await w.mbind(f"A:{first}", count, flags=flags) == ret
        shot = w.shot("A")
        assert isinstance(shot, Shot)
        assert shot.node == node
        assert shot.ksm == "ppppKKKK"
        assert shot.mapcount == (1, 1, 1, 1, 4, 4, 4, 4)
        await w.scan(2)
        assert w.counters() == (1, 3, 0, 0)

    run(body, *pages_on(0))


@pytest.mark.parametrize(
    ("flags", "ret", "moved"),
    [(STRICT, -EIO, False), (MOVE, 0, True), (MOVE | STRICT, 0, True), (0, 0, False)],
)
def test_pages_on_an_allowed_node_are_taken_for_misplaced(
    flags: int, ret: int, *, moved: bool
) -> None:
    """A quirk of x86 at the time, not of KSM."""

    async def body(w: KernelWorld) -> None:
        await merge_the_last_four(w)
        before = w.frames("A")
        assert await w.mbind("A:0", 8, flags=flags) == ret
        after = w.frames("A")
        assert [a != b for a, b in zip(after, before, strict=True)] == [moved] * 4 + [False] * 4
        assert w.shot("A").node == "1" * 8  # type: ignore[union-attr]

    run(body, *pages_on(1))


@pytest.mark.parametrize("flags", [STRICT, MOVE | STRICT])
def test_pages_on_an_allowed_node_are_well_placed_without_the_quirk(flags: int) -> None:
    async def body(w: KernelWorld) -> None:
        before = w.frames("A")
        assert await w.mbind("A:0", 8, flags=flags) == 0
        assert w.frames("A") == before

    run(body, *pages_on(1), without=["node_isset_returns_minus_one"])


def test_odd_arguments() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start, size = w.mm("A"), w.address("A:0"), 8 * PAGE_SIZE
        assert await do_mbind(w.g, mm, start, size, (1,), 64) == -EINVAL
        assert await do_mbind(w.g, mm, start + 1, size, (1,), 0) == -EINVAL
        assert await do_mbind(w.g, mm, start, 0, (1,), MOVE) == 0
        assert await do_mbind(w.g, mm, start, 0, (), MOVE) == 0
        assert await do_mbind(w.g, mm, start, size, (), MOVE) == -EINVAL
        assert await do_mbind(w.g, mm, start, size, (6,), MOVE) == -EINVAL
        assert await do_mbind(w.g, mm, start, size, (1, 6), STRICT | MOVE) == 0
        assert w.vma("A:0")._vm_policy == (1,)

    run(body, *pages_on(0))


def test_node_without_memory_cannot_be_bound_to() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await w.mbind("A:0", 4, flags=MOVE) == -EINVAL
        assert w.shot("A").node == "0" * 8  # type: ignore[union-attr]
        await w.drain()

    run(body, *pages_on(0))


def test_holes_below_another_area_are_no_fault_but_one_between_two_is() -> None:
    async def body(w: KernelWorld) -> None:
        mm, end = w.mm("A"), w.address("A:1") + PAGE_SIZE
        span = w.address("A:2") - w.address("A:0") + PAGE_SIZE
        assert await do_mbind(w.g, mm, end, 2 * PAGE_SIZE, (1,), MOVE) == 0
        assert await do_mbind(w.g, mm, w.address("A:0"), 4 * PAGE_SIZE, (1,), MOVE) == 0
        assert await do_mbind(w.g, mm, w.address("A:0"), span, (1,), MOVE) == -EFAULT
        assert await do_mbind(w.g, mm, w.address("A:2"), 2 * PAGE_SIZE, (1,), MOVE) == -EFAULT
        beyond = w.address("A:2") + PAGE_SIZE
        assert await do_mbind(w.g, mm, beyond, PAGE_SIZE, (1,), MOVE) == -EFAULT

    run(body, "\n".join([process("A", 1, 2), vma([3])]))


def test_range_beyond_the_last_area_is_a_fault_before_its_pages_are_looked_at() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        await mm.mmap_sem.down_write(AT)
        err = await check_range(w.g, mm, start, start + 3 * PAGE_SIZE, (1,), STRICT, [])
        assert err == -EFAULT
        await mm.mmap_sem.up_write(AT)

    run(body, process("A", 1, 2))


def test_fault_puts_back_what_was_isolated() -> None:
    async def body(w: KernelWorld) -> None:
        span = w.address("A:2") - w.address("A:0") + PAGE_SIZE
        assert await do_mbind(w.g, w.mm("A"), w.address("A:0"), span, (1,), MOVE) == -EFAULT
        await w.drain()
        assert w.page("A:0").count.value == 1

    assert run(body, "\n".join([process("A", 1, 2), vma([3])])).contents("A") == [1, 2, 3]


def test_policy_is_set_on_the_range_only() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:2", 4, flags=0) == 0
        policies = [w.vma(f"A:{number}")._vm_policy for number in range(8)]
        assert policies == [None, None, (1,), (1,), (1,), (1,), None, None]

    run(body, *pages_on(0))


def test_refused_page_fails_a_strict_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:0", 1, flags=ALL) == 0
        assert await w.mbind("A:0", 1, flags=ALL | STRICT) == -EIO
        assert await w.mbind("A:0", 2, flags=STRICT) == -EIO

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_page_mapped_more_than_once_is_left_to_move_all() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:0", 2, flags=MOVE | STRICT) == 0
        assert w.shot("A").node == "00"  # type: ignore[union-attr]

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_ksmd_stays_out_of_the_address_space_throughout() -> None:
    async def mover(w: KernelWorld) -> None:
        await w.mbind("A:0", 1, flags=MOVE)
        w.log.append("bound")

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append("scanned")

    schedule = turns("mover@unmap_and_move.3", "ksmd", "mover", "ksmd")
    parts = (process(n, 7, mergeable=True, checksum=True, pte="ro") for n in "BA")
    w = KernelWorld(*parts, actors=("mover", "ksmd"), strategy=schedule)
    assert w.go(mover, ksmd).found == []
    assert w.log == ["bound", "scanned"]
