# SPDX-License-Identifier: GPL-2.0-or-later
"""mbind(2): its answers and what it moves. Those of whole calls are what a kernel 2.6.33.3 did.

Process A has four ordinary pages and four that are one KSM page.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, EIO, ENOMEM

import pytest

from ksmtrio.mm.mempolicy import (
    MPOL_MF_DISCONTIG_OK,
    MPOL_MF_INVERT,
    MPOL_MF_MOVE,
    MPOL_MF_MOVE_ALL,
    MPOL_MF_STRICT,
    TASK_SIZE,
    check_range,
    sys_mbind,
)
from ksmtrio.mm.mempolicy_alloc import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED,
)
from ksmtrio.mm.mm_types import VM_HUGETLB, VM_IO, VM_PFNMAP, VM_RESERVED, MemPolicy, Page
from ksmtrio.mm.rmap import page_address_in_vma
from ksmtrio.mm.vmscan import putback_lru_pages
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, Log, Shot, ksm, machine, process, run, turns, vma

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
        assert await sys_mbind(w.g, mm, start, size, MPOL_BIND, (1,), 64) == -EINVAL
        assert await sys_mbind(w.g, mm, start + 1, size, MPOL_BIND, (1,), 0) == -EINVAL
        assert await sys_mbind(w.g, mm, start, 0, MPOL_BIND, (1,), MOVE) == 0
        assert await sys_mbind(w.g, mm, start, 0, MPOL_BIND, (), MOVE) == 0
        assert await sys_mbind(w.g, mm, start, size, MPOL_BIND, (), MOVE) == -EINVAL
        assert await sys_mbind(w.g, mm, start, size, MPOL_BIND, (6,), MOVE) == -EINVAL
        assert await sys_mbind(w.g, mm, start, size, MPOL_BIND, (1, 6), STRICT | MOVE) == 0
        assert w.vma("A:0")._vm_policy == MemPolicy(MPOL_BIND, (1,))

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
        assert await sys_mbind(w.g, mm, end, 2 * PAGE_SIZE, MPOL_BIND, (1,), MOVE) == 0
        assert await sys_mbind(w.g, mm, w.address("A:0"), 4 * PAGE_SIZE, MPOL_BIND, (1,), MOVE) == 0
        assert await sys_mbind(w.g, mm, w.address("A:0"), span, MPOL_BIND, (1,), MOVE) == -EFAULT
        assert (
            await sys_mbind(w.g, mm, w.address("A:2"), 2 * PAGE_SIZE, MPOL_BIND, (1,), MOVE)
            == -EFAULT
        )
        beyond = w.address("A:2") + PAGE_SIZE
        assert await sys_mbind(w.g, mm, beyond, PAGE_SIZE, MPOL_BIND, (1,), MOVE) == -EFAULT

    run(body, "\n".join([process("A", 1, 2), vma([3])]))


def test_range_beyond_the_last_area_is_a_fault_before_its_pages_are_looked_at() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        await mm.mmap_sem.down_write(AT)
        flags = STRICT | MPOL_MF_INVERT
        answer = await check_range(w.g, mm, start, start + 3 * PAGE_SIZE, (1,), flags, [])
        assert answer == (-EFAULT, None)
        await mm.mmap_sem.up_write(AT)

    run(body, process("A", 1, 2))


def test_fault_puts_back_what_was_isolated() -> None:
    async def body(w: KernelWorld) -> None:
        span = w.address("A:2") - w.address("A:0") + PAGE_SIZE
        assert (
            await sys_mbind(w.g, w.mm("A"), w.address("A:0"), span, MPOL_BIND, (1,), MOVE)
            == -EFAULT
        )
        await w.drain()
        assert w.page("A:0").count.value == 1

    assert run(body, "\n".join([process("A", 1, 2), vma([3])])).contents("A") == [1, 2, 3]


def test_policy_is_set_on_the_range_only() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:2", 4, flags=0) == 0
        policies = [w.vma(f"A:{number}")._vm_policy for number in range(8)]
        bound = MemPolicy(MPOL_BIND, (1,))
        assert policies == [None, None, *[bound] * 4, None, None]

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


def test_mode_and_mask_must_fit() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")

        async def call(mode: int, *nodes: int, flags: int = 0, length: int = PAGE_SIZE) -> int:
            return await sys_mbind(w.g, mm, start, length, mode, nodes, flags)

        assert await call(4, 1) == -EINVAL
        assert await call(-1, 1) == -EINVAL
        assert await call(MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, 1) == -EINVAL
        assert await call(MPOL_BIND, 64) == -EINVAL
        assert await call(MPOL_BIND, -1) == -EINVAL
        assert await call(MPOL_BIND, 64, length=0) == -EINVAL
        assert await call(MPOL_DEFAULT, 1) == -EINVAL
        assert await call(MPOL_DEFAULT | MPOL_F_STATIC_NODES) == 0
        assert await call(MPOL_INTERLEAVE) == -EINVAL
        assert await call(MPOL_PREFERRED | MPOL_F_STATIC_NODES) == -EINVAL
        assert await call(MPOL_PREFERRED, 6) == -EINVAL
        assert await call(MPOL_PREFERRED) == 0
        assert w.vma("A:0")._vm_policy == MemPolicy(MPOL_PREFERRED, ())
        assert await call(MPOL_PREFERRED, 1, 0) == 0
        assert w.vma("A:0")._vm_policy == MemPolicy(MPOL_PREFERRED, (0,))
        assert await call(MPOL_BIND, 1, length=-PAGE_SIZE) == -EINVAL
        assert await sys_mbind(w.g, mm, -PAGE_SIZE, PAGE_SIZE, MPOL_BIND, (1,), 0) == -EINVAL
        assert not w.rt.me.held

    run(body, process("A", 1, 2))


def test_policy_for_which_there_is_no_memory_is_refused_only_where_the_scenario_allows_it() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:0", 1, flags=MOVE) == -ENOMEM
        assert w.vma("A:0")._vm_policy is None
        assert await w.mbind("A:0", 1, flags=0) == 0

    run(body, process("A", 1), faults=["enomem"], choices=Choices(faults=[1, 0]))


def test_default_policy_forgives_holes_and_misplaced_pages_but_not_the_lack_of_areas() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        span = w.address("A:2") - start + 2 * PAGE_SIZE
        assert await w.mbind("A:0", 2, flags=0) == 0
        flags = STRICT | MOVE
        assert await sys_mbind(w.g, mm, start, span, MPOL_DEFAULT, (), flags) == 0
        assert w.vma("A:0")._vm_policy is None
        # An empty mask holds no node: every page is taken for misplaced, and goes to the local one.
        assert w.shot("A").node == "000"  # type: ignore[union-attr]
        beyond = start + span
        assert await sys_mbind(w.g, mm, beyond, PAGE_SIZE, MPOL_DEFAULT, (), 0) == -EFAULT

    run(body, "\n".join([process("A", 1, 2, node=1), vma([3], node=1)]))


def test_strict_refuses_every_page_where_no_node_is_preferred() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        assert await sys_mbind(w.g, mm, start, PAGE_SIZE, MPOL_PREFERRED, (), STRICT) == -EIO

    run(body, process("A", 1), without=["node_isset_returns_minus_one"])


@pytest.mark.parametrize(
    ("vm_flags", "flags", "looked_at"),
    [
        (VM_IO, MOVE, False),
        (VM_RESERVED, ALL, False),
        (VM_PFNMAP, MOVE, False),
        (VM_RESERVED, MOVE | STRICT, True),
        (VM_HUGETLB, MOVE | STRICT, False),
        (0, 0, False),
        (0, MOVE, True),
    ],
)
def test_areas_that_cannot_migrate_are_looked_at_only_by_a_strict_walk(
    vm_flags: int, flags: int, *, looked_at: bool
) -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= vm_flags
        before = w.frames("A")
        assert await w.mbind("A:0", 2, flags=flags) == 0
        assert (w.frames("A") != before) == looked_at
        w.vma("A:0")._vm_flags &= ~vm_flags

    run(body, process("A", 1, 2))


def test_walk_without_invert_takes_the_pages_on_the_mask() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        await w.move("A:1", node=1)
        await w.drain()
        await mm.mmap_sem.down_read(AT)
        pages: list[Page] = []
        flags = ALL | MPOL_MF_DISCONTIG_OK
        err, first = await check_range(w.g, mm, start, TASK_SIZE, (1,), flags, pages)
        assert (err, first) == (0, w.vma("A:0"))
        assert pages == [w.page("A:1")]
        await putback_lru_pages(w.g, pages)
        await mm.mmap_sem.up_read(AT)

    run(body, "\n".join([process("A", 1, 2), vma([3])]))


def test_replacements_follow_the_policy_of_the_area_that_maps_the_page() -> None:
    async def body(w: KernelWorld) -> None:
        mm, start = w.mm("A"), w.address("A:0")
        span = 4 * PAGE_SIZE
        assert await sys_mbind(w.g, mm, start, span, MPOL_INTERLEAVE, (0, 1), MOVE) == 0
        first = (start // PAGE_SIZE) % 2
        nodes = "".join(str((first + number) % 2) for number in range(4))
        assert w.shot("A").node == nodes  # type: ignore[union-attr]

    run(body, process("A", 1, 2, 3, 4))


def test_page_that_went_ksm_gets_its_replacement_by_the_default_policy_and_is_refused() -> None:
    """With MOVE_ALL the page of a fork is taken; ksmd upgrades it through the parent."""

    async def mover(w: KernelWorld) -> None:
        w.log.append(await w.mbind("C:0", 1, flags=ALL | STRICT))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(2)
        word = w.page("C:0").mapping.value
        w.log.append(word is not None and word.ksm)

    parts = (
        *(process(name, 7, mergeable=True, checksum=True) for name in "BA"),
        '[[process]]\nname = "C"\nforked_from = "A"',
    )
    log = Log()
    schedule = turns("mover@do_mbind.6/page_address_in_vma", "ksmd", "mover")
    w = KernelWorld(*parts, actors=("mover", "ksmd"), strategy=schedule, recorder=log)
    assert w.go(mover, ksmd).found == []
    assert w.log == [True, -EIO]
    labels = {at for at, _, _ in log.operations}
    assert "do_mbind.6/page_address_in_vma#3" in labels
    assert "do_mbind.6/page_address_in_vma#4" not in labels
    assert w.shot("C").node == "0"  # type: ignore[union-attr]


def test_ksm_page_seems_to_belong_into_an_area_without_anon_vma() -> None:
    async def body(w: KernelWorld) -> None:
        page, stranger = w.page("A:0"), w.vma("B:0")
        assert await page_address_in_vma(page, w.vma("A:0"), AT) is None
        index = page.index.value
        inside = stranger._vm_start + ((index - stranger._vm_pgoff) << PAGE_SHIFT)
        expected = inside if stranger._vm_start <= inside < stranger._vm_end else None
        mm = w.mm("B")
        await mm.mmap_sem.down_read(AT)
        assert await page_address_in_vma(page, stranger, AT) == expected
        await mm.mmap_sem.up_read(AT)

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True), process("B", "-", "-"))
