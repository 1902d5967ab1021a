# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's selftests and the LTP demand of KSM, in our own words.

Each test names where its claim stems from. Numbers of pages are small; the sums are the same.
"""

from __future__ import annotations

from errno import EINVAL, ENOMEM

import pytest

from ksmtrio.mm.ksm import MADV_MERGEABLE
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.uapi import syscalls
from tests.conformance.world import Bench, run
from tests.kernel_world import KernelWorld, answer
from tests.kernel_world import process as process_table

PAGES = 4
"""Pages of each of the three processes of ksm01."""

C, A, B, D, E = 3, 1, 2, 4, 5


async def settled(b: Bench) -> tuple[int, int, int, int]:
    """Let ksmd scan until its counters have been the same twice; return them."""
    before = None
    while True:
        await b.scan()
        counters = tuple((await b.counters()).values())
        if counters == before:
            return counters  # type: ignore[return-value]
        before = counters


# LTP ksm01; ksm02 is the same with all memory on one node, which is what `node` 1 stands for.
@pytest.mark.parametrize("node", [0, 1])
def test_counters_follow_what_three_processes_write(node: int) -> None:
    async def program(b: Bench) -> None:
        made = [await b.mk(name, *[None] * PAGES, node=node) for name in "ABC"]
        for process in made:
            await process.merge()

        async def fill(*contents: int) -> tuple[int, int, int, int]:
            for process, content in zip(made, contents, strict=True):
                for index in range(PAGES):
                    await process.write(index, content)
            return await settled(b)

        whole = 3 * PAGES
        assert await fill(C, A, A) == (2, whole - 2, 0, 0)
        assert await fill(C, B, A) == (3, whole - 3, 0, 0)
        assert await fill(D, D, D) == (1, whole - 1, 0, 0)
        await made[1].write(PAGES - 1, E)
        assert await settled(b) == (1, whole - 2, 1, 0)
        assert await b.bad_pages() == 0

        assert await b.knob("run", 2) == 0
        assert await b.knob("run") == "2"
        assert tuple((await b.counters()).values()) == (0, 0, 0, 0)
        assert await b.bad_pages() == 0
        assert await b.knob("run", 0) == 0
        await b.pause()
        assert tuple((await b.counters()).values()) == (0, 0, 0, 0)

    run(program)


# LTP ksm01 reads the knobs back that it wrote.
def test_knobs_read_as_they_were_written() -> None:
    async def program(b: Bench) -> None:
        for name, value in (("pages_to_scan", 3 * PAGES), ("sleep_millisecs", 0), ("run", 1)):
            assert await b.knob(name, value) == 0
            assert await b.knob(name) == str(value)

    run(program)


async def short_lived_processes(b: Bench) -> None:
    await b.knob("run", 1)
    for number in range(8):
        process = await b.mk(f"P{number}", 7)
        await process.merge()
        await process.exit()
    b.processes.clear()
    await b.knob("run", 0)


# LTP ksm05, CVE-2011-2183. The kernel of the day fails it, as the real one did.
def test_processes_that_register_and_exit_do_not_take_ksmd_down_once_that_is_fixed() -> None:
    down = "bugs:null-dereference@scan_get_next_rmap_item.6"
    for seed in range(6):
        run(short_lived_processes, kernel="latest-fixes", strategy=RandomStrategy(seed))
    benches = [Bench(strategy=RandomStrategy(s)).run(short_lived_processes) for s in range(6)]
    found = [finding for bench in benches for finding in bench.world.findings.all()]
    assert {finding.signature.partition("<-")[0] for finding in found} == {down}


# LTP ksm06, whose pages are mlocked, with merge_across_nodes = 1, the only way before 3.9;
# selftest ksm_tests, check_ksm_numa_merge.
@pytest.mark.parametrize("locked", [False, True], ids=["unlocked", "mlocked"])
def test_equal_pages_of_different_nodes_are_merged(*, locked: bool) -> None:
    async def program(b: Bench) -> None:
        made = [await b.mk(name, *[10] * 5, node=node) for node, name in enumerate("AB")]
        assert [process.nodes() for process in made] == ["00000", "11111"]
        for process in made:
            await process.merge()
            if locked:
                assert await process.mlock() == 0
        assert await settled(b) == (1, 2 * 5 - 1, 0, 0)

    run(program)


# Selftest ksm_tests, check_ksm_merge.
def test_all_duplicates_of_a_page_are_merged_within_two_scans() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[42] * 10)
        assert await process.merge() == 0
        await b.scan(2)
        assert tuple((await b.counters()).values()) == (1, 9, 0, 0)
        assert len(set(process.frames())) == 1

    run(program)


# Selftest ksm_tests, check_ksm_unmerge.
def test_merged_pages_that_are_all_written_count_as_unmerged_after_one_scan() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 42, 42)
        await process.merge()
        await b.scan(2)
        assert tuple((await b.counters()).values())[:2] == (1, 1)
        await process.write(0, 43)
        await process.write(1, 44)
        await b.scan()
        assert tuple((await b.counters()).values())[:2] == (0, 0)
        assert await b.bad_pages() == 0

    run(program)


# Selftest ksm_tests, check_ksm_zero_page_merge with use_zero_pages = 0, the only way before 4.12.
def test_pages_written_with_zeroes_are_merged_like_others() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[0] * 10)
        await process.merge()
        await b.scan(2)
        assert tuple((await b.counters()).values()) == (1, 9, 0, 0)

    run(program)


# Selftest ksm_functional_tests, test_unmerge.
def test_unmergeable_leaves_no_frame_mapped_twice() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[0xCF] * 8)
        await process.merge()
        await b.scan(2)
        assert len(set(process.frames())) == 1
        assert await process.unmerge() == 0
        assert len(set(process.frames())) == 8
        assert await b.bad_pages() == 0

    run(program)


# Selftest ksm_functional_tests, test_unmerge_discarded; the pages go by munmap.
def test_unmergeable_passes_over_pages_that_are_not_there() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[0xCF] * 4, *[None] * 4)
        await process.merge()
        await b.scan(2)
        await process.munmap(0, 2)
        assert await process.unmerge(2, 8) == 0
        frames = process.frames()
        assert frames[:2] == [None, None]
        assert frames[4:] == [None] * 4
        assert len(set(frames[2:4])) == 2

    run(program)


# LTP madvise01: both kinds of advice succeed on a mapping that cannot be merged, too.
def test_both_kinds_of_advice_succeed_on_a_shared_mapping() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 1, shared=True)
        assert await process.merge() == 0
        assert await process.unmerge() == 0

    run(program)


# LTP madvise02, cases of EINVAL and ENOMEM.
@pytest.mark.parametrize(
    ("start", "length", "advice", "expected"),
    [
        (1, 4096, MADV_MERGEABLE, -EINVAL),
        (0, 4096, 1212, -EINVAL),
        (0, 8 * 4096, MADV_MERGEABLE, -ENOMEM),
        (16 * 4096, 4096, MADV_MERGEABLE, -ENOMEM),
    ],
    ids=["unaligned", "unknown advice", "reaches beyond the mapping", "nothing mapped"],
)
def test_bad_advice_is_refused(start: int, length: int, advice: int, expected: int) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        call = syscalls.madvise(b.world.g, process.mm, process.address(0) + start, length, advice)
        assert await answer(call) == expected

    run(program)


# LTP madvise02: without KSM there is no such advice.
def test_kernel_without_ksm_does_not_know_its_advice() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 1, mergeable=True) == -EINVAL
        assert await w.madvise("A:0", 1, mergeable=False) == -EINVAL

    world = KernelWorld(process_table("A", 1), without=("CONFIG_KSM",)).go(body)
    assert world.found == []
