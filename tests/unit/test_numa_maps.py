# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/numa_maps: mm/numa_maps.py."""

from __future__ import annotations

from errno import ESRCH

from ksmtrio.mm.mempolicy_alloc import MPOL_F_STATIC_NODES, MPOL_INTERLEAVE
from ksmtrio.mm.mm_types import VM_HUGETLB
from ksmtrio.mm.numa_maps import read_numa_maps
from ksmtrio.mm.page_flags import PG_ACTIVE
from ksmtrio.uapi import syscalls
from tests.kernel_world import KernelWorld, ksm, machine, process, run, turns, vma
from tests.swap_world import swap_to_cache, with_device


async def lines(w: KernelWorld, name: str = "A") -> list[str]:
    """Read the file and check that each line begins with the start of an area."""
    err, text = await read_numa_maps(w.g, w.mm(name))
    assert err == 0
    assert text.endswith("\n")
    shown = [line.split(" ", 1) for line in text.splitlines()]
    assert [start for start, _ in shown] == [f"{vma._vm_start:08x}" for vma in w.mm(name)._vmas]
    return [rest for _, rest in shown]


def test_pages_are_counted_by_kind_and_node() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:1", node=1) == [1]
        await w.drain()
        assert await lines(w) == ["default anon=3 dirty=3 N0=2 N1=1"]

    run(body, process("A", 1, 2, 3))


def test_area_that_maps_nothing_shows_its_policy_alone() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:0", 1, flags=0) == 0
        assert await lines(w) == ["bind:1", "default", "default anon=1 dirty=1 N0=1"]

    run(body, "\n".join([process("A", "-", "-"), vma([3])]))


def test_ksm_pages_and_the_zero_page_are_absent() -> None:
    async def body(w: KernelWorld) -> None:
        await w.load("A:3")
        assert await lines(w) == ["default anon=1 dirty=1 N0=1"]

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, 8, "-", mergeable=True))


def test_area_of_ksm_pages_alone_seems_empty() -> None:
    async def body(w: KernelWorld) -> None:
        assert await lines(w) == ["default"]

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_kernel_that_does_not_skip_ksm_pages_counts_them() -> None:
    async def body(w: KernelWorld) -> None:
        (line,) = await lines(w)
        assert line.startswith("default anon=2 ")
        assert " mapmax=2 " in line
        assert line.endswith(" N0=2")

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_pages_of_a_fork_show_how_often_they_are_mapped() -> None:
    async def body(w: KernelWorld) -> None:
        assert await lines(w) == await lines(w, "B") == ["default anon=2 dirty=2 mapmax=2 N0=2"]

    run(body, process("A", 1, 2), '[[process]]\nname = "B"\nforked_from = "A"')


def test_active_is_shown_when_some_page_is_not_even_as_0() -> None:
    async def body(w: KernelWorld) -> None:
        for ref, text in (("A:0", "active=1"), ("A:1", "active=0")):
            w.page(ref).flags.value &= ~PG_ACTIVE
            assert await lines(w) == [f"default anon=2 dirty=2 {text} N0=2"]
        for ref in ("A:0", "A:1"):
            w.page(ref).flags.value |= PG_ACTIVE

    run(body, process("A", 1, 2))


def test_pages_that_are_neither_all_anonymous_nor_all_dirty_are_summed_up() -> None:
    async def body(w: KernelWorld) -> None:
        for ref in ("A:0", "A:1"):
            cell = w.mm("A").pte(w.address(ref))
            cell.value = cell.value._replace(dirty=False)
        assert await lines(w) == ["default anon=3 dirty=1 N0=3"]

    run(body, process("A", 1, 2, 3))


def test_policies_are_spelled_out_with_their_mode_flags() -> None:
    async def body(w: KernelWorld) -> None:
        mode = MPOL_INTERLEAVE | MPOL_F_STATIC_NODES
        where = w._range("A:0", 1)
        assert await syscalls.mbind(w.g, *where, mode, (0, 1, 2), 0) == 0
        assert await lines(w) == ["interleave=static:0-2"]

    run(body, machine(nodes=3), process("A", "-"))


def test_huge_pages_are_not_walked() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= VM_HUGETLB
        assert await lines(w) == ["default huge"]
        w.vma("A:0")._vm_flags &= ~VM_HUGETLB

    run(body, process("A", 1))


def test_pages_that_were_unmapped_do_not_count() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.munmap("A:1", 1) == 0
        assert await lines(w) == ["default anon=1 dirty=1 N0=1"]

    run(body, process("A", 1, 2))


def test_pages_in_the_swap_cache_count_while_a_pte_maps_them() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        before = await lines(w)
        assert "swapcache" not in before[0]
        await w.load("A:0")
        (after,) = await lines(w)
        assert " swapcache=1" in after

    with_device(body, process("A", 5))


def test_task_that_is_gone_has_no_file() -> None:
    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        assert await read_numa_maps(w.g, w.mm("A")) == (-ESRCH, "")

    run(body, process("A", 1))


def test_page_that_goes_ksm_between_two_areas_is_missing_from_the_second() -> None:
    async def reader(w: KernelWorld) -> None:
        w.log.append(await lines(w, "B"))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)

    parts = (
        "\n".join([process("B", 5), vma([7], mergeable=True, checksum=True)]),
        process("A", 7, mergeable=True, checksum=True),
    )
    second = "reader@check_pte_range.1"
    schedule = turns("reader@gather_stats.7", second, "ksmd", "reader")
    w = KernelWorld(*parts, actors=("reader", "ksmd"), strategy=schedule)
    assert w.go(reader, ksmd).found == []
    assert w.log == [["default anon=1 dirty=1 N0=1", "default"]]
    assert w.counters() == (1, 1, 0, 0)
