# SPDX-License-Identifier: GPL-2.0-or-later
"""What ksmd merges and when; what writes, advice, fork, munmap and mlock do to merged pages."""

from __future__ import annotations

from tests.conformance.programs import program
from tests.conformance.world import Bench


@program("A1")
async def eight_equal_pages(b: Bench) -> None:
    a = await b.mk("A", *[5] * 8)
    await b.snap("before_madvise")
    b.note("madvise", ret=await a.merge())
    for number in range(1, 5):
        await b.scan()
        await b.snap(f"scan{number}")


@program("A2")
async def a_page_that_keeps_changing(b: Bench) -> None:
    a = await b.mk("A", 1, 2, 101, 1, 1, 2, 50, 1, 102, 2)
    await a.merge()
    for number in range(1, 6):
        if number > 1:
            await a.write(6, 50 + number)
        await b.scan()
        await b.snap(f"scan{number}")
    for number in (6, 7):
        await b.scan()
        await b.snap(f"scan{number}_v_quiet")


@program("A4")
async def a_third_process_joins(b: Bench) -> None:
    for name in "AB":
        await (await b.mk(name, 9)).merge()
    for number in range(1, 4):
        await b.scan()
        await b.snap(f"scan{number}")
    await (await b.mk("C", 9)).merge()
    for number in range(4, 7):
        await b.scan()
        await b.snap(f"scan{number}_third")


@program("A6")
async def advice_for_a_part(b: Bench) -> None:
    a = await b.mk("A", 4, 4, None, 4)
    await a.merge(0, 3)
    for number in range(1, 4):
        await b.scan()
        await b.snap(f"scan{number}")


@program("A8")
async def two_pages_a_wake_up(b: Bench) -> None:
    a = await b.mk("A", *[8] * 6)
    await a.merge()
    await b.scan()
    await b.snap("after_first_full_scan")
    await b.knob("pages_to_scan", 2)
    await b.knob("sleep_millisecs", 400)
    for number in range(1, 6):
        b.note(f"wake{number}", scans_advanced=await b.let_ksmd_run(1))
        await b.snap(f"wake{number}_state")


@program("B1")
async def a_merged_page_is_written_and_written_back(b: Bench) -> None:
    a = await b.mk("A", *[11] * 6)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    await a.write(3, 12)
    await b.snap("after_write_noscan")
    for number in range(1, 4):
        await b.scan()
        await b.snap(f"write_scan{number}")
    await a.write(3, 11)
    await b.snap("written_back_noscan")
    for number in range(1, 4):
        await b.scan()
        await b.snap(f"back_scan{number}")


@program("B2")
async def every_user_of_a_merged_page_writes(b: Bench) -> None:
    a = await b.mk("A", 13, 13)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    await a.write(0, 14)
    await b.snap("after_write_noscan")
    for number in range(1, 4):
        await b.scan()
        await b.snap(f"scan{number}")
    await a.write(1, 15)
    await b.snap("both_written_noscan")
    for number in range(4, 7):
        await b.scan()
        await b.snap(f"scan{number}")


@program("B4")
async def a_page_becomes_equal_to_a_merged_one(b: Bench) -> None:
    a = await b.mk("A", *[17] * 5, 18)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    await a.write(5, 17)
    for number in (1, 2):
        await b.scan()
        await b.snap(f"scan{number}")


@program("C1")
async def advice_taken_back_and_given_again(b: Bench) -> None:
    a = await b.mk("A", *[21] * 8)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    b.note("unmerge", ret=await a.unmerge(2, 4))
    await b.snap("unmerged_noscan")
    for number in (1, 2):
        await b.scan()
        await b.snap(f"scan{number}")
    await a.merge(2, 4)
    for number in (3, 4, 5):
        await b.scan()
        await b.snap(f"scan{number}_again")


@program("C2")
async def run_2_takes_everything_apart(b: Bench) -> None:
    a = await b.mk("A", *[22] * 4, 23, 23, 24, 25)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    ret = await b.knob("run", 2)
    b.note("run2", ret=ret, run_reads=int(await b.knob("run")), full_scans=await b.full_scans())
    await b.snap("after_run2")
    for number in (1, 2, 3):
        await b.scan()
        await b.snap(f"scan{number}")


@program("C3")
async def merged_pages_are_unmapped(b: Bench) -> None:
    a = await b.mk("A", *[26] * 8)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    await a.munmap(0, 4)
    await b.snap("munmap4_noscan")
    for number in (1, 2):
        await b.scan()
        await b.snap(f"scan{number}")
    await a.munmap(4, 8)
    await b.snap("munmap8_noscan")
    for number in (3, 4):
        # With nothing left to scan, full_scans need not advance.
        await b.let_ksmd_run(10)
        await b.snap(f"scan{number}")


@program("C5")
async def advice_on_odd_ranges(b: Bench) -> None:
    a = await b.mk("A", *[28] * 4)
    await a.merge()
    b.note(
        "ret",
        twice_mergeable=await a.merge(),
        beyond_end=await a.merge(2, 8),
        unmapped=await a.merge(8, 12),
        zero_len=await a.merge(0, 0),
        unmerge_never_merged=await a.unmerge(),
        unmerge_twice=await a.unmerge(),
    )


@program("C5s")
async def advice_on_shared_memory(b: Bench) -> None:
    a = await b.mk("A", 28, 28, shared=True)
    b.note("ret", mergeable=await a.merge())
    await b.let_ksmd_run(10)
    await b.snap("after_0.9s")


@program("C5r")
async def odd_words_in_the_knobs(b: Bench) -> None:
    b.note(
        "ret",
        run_3=await b.knob("run", 3),
        run_minus1=await b.knob("run", -1),
        run_text=await b.knob("run", "on"),
        pages_to_scan_minus1=await b.knob("pages_to_scan", -1),
        sleep_text=await b.knob("sleep_millisecs", "soon"),
        full_scans_write=await b.knob("full_scans", 0),
    )


@program("C6")
async def mlock_breaks_sharing_until_the_next_scan(b: Bench) -> None:
    a = await b.mk("A", *[29] * 4)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    b.note("mlock", ret=await a.mlock())
    await b.snap("mlocked")
    for number in (1, 2, 3):
        await b.scan()
        await b.snap(f"scan{number}")
    await a.munlock()
    await b.snap("munlocked")
    await b.scan(3)
    await b.snap("munlocked_scan3")


@program("D1")
async def fork_of_merged_pages(b: Bench) -> None:
    a = await b.mk("A", *[41] * 4)
    await a.merge()
    await b.scan(3)
    await b.snap("merged")
    child = await a.fork("B")
    await _now_and_after_scans(b, "forked", 3)
    await child.write(0, 42)
    await _now_and_after_scans(b, "child_wrote", 3)
    await a.write(1, 43)
    await _now_and_after_scans(b, "parent_wrote", 3)
    await child.exit()
    await _now_and_after_scans(b, "child_exited", 2)


async def _now_and_after_scans(b: Bench, what: str, times: int) -> None:
    await b.snap(f"{what}_noscan")
    for number in range(1, times + 1):
        await b.scan()
        await b.snap(f"{what}_scan{number}")
