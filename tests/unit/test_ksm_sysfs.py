# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of KSM. The answers to odd writes are a kernel 2.6.33.3's."""

from __future__ import annotations

from errno import EACCES, EINTR, EINVAL, ENOMEM

import pytest

from ksmtrio.mm.signal import send_sig
from ksmtrio.sched.choices import Choices
from ksmtrio.uapi import sysfs
from tests.kernel_world import AT, KernelWorld, actor, ksm, process, run, turns

KSM = "/sys/kernel/mm/ksm"
MERGED = (ksm(["A:0", "A:1", "A:2"]), process("A", 7, 7, 7, 8, mergeable=True))


def test_answers_to_odd_writes() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.write(f"{KSM}/run", "3") == -EINVAL
        assert await w.write(f"{KSM}/run", "-1") == -EINVAL
        assert await w.write(f"{KSM}/run", "one") == -EINVAL
        assert await w.write(f"{KSM}/pages_to_scan", "-1") == -EINVAL
        assert await w.write(f"{KSM}/sleep_millisecs", "soon") == -EINVAL
        assert await w.write(f"{KSM}/full_scans", "0") == -EACCES
        assert await w.read(f"{KSM}/run") == "1"

    run(body)


@pytest.mark.parametrize("knob", ["pages_to_scan", "sleep_millisecs"])
def test_knob_takes_an_unsigned_int(knob: str) -> None:
    async def body(w: KernelWorld) -> None:
        path = f"{KSM}/{knob}"
        for text in ("0", "17\n", str(2**32 - 1), str(2**64 + 5)):
            assert await w.write(path, text) == 0
            assert await w.read(path) == str(int(text) % 2**64)
        for text in (str(2**32), "0x10", "10 ", "\n"):
            assert await w.write(path, text) == -EINVAL
        assert await w.read(path) == "5"

    run(body)


def test_functions_of_single_files_give_what_the_text_means() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sysfs.write_ksm_run(w.g, "0\n") == 2
        assert await sysfs.read_ksm_run(w.g) == 0
        assert await sysfs.write_ksm_pages_to_scan(w.g, "9") == 1
        assert await sysfs.read_ksm_pages_to_scan(w.g) == 9
        assert await sysfs.write_ksm_sleep_millisecs(w.g, "400") == 3
        assert await sysfs.read_ksm_sleep_millisecs(w.g) == 400
        await w.scan(2)
        assert await sysfs.read_ksm_pages_shared(w.g) == 1
        assert await sysfs.read_ksm_pages_sharing(w.g) == 2
        assert await sysfs.read_ksm_pages_unshared(w.g) == 1
        assert await sysfs.read_ksm_pages_volatile(w.g) == 0
        assert await sysfs.read_ksm_full_scans(w.g) == 2

    run(body, *MERGED)


def test_writing_what_run_says_already_does_nothing_but_wake_ksmd() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.write(f"{KSM}/run", "2") == 0
        await w.madvise("A:0", 4, mergeable=True)
        await w.scan(3)
        assert w.counters() == (1, 2, 1, 0)
        assert await w.write(f"{KSM}/run", "2") == 0
        assert w.counters() == (1, 2, 1, 0)

    run(body, *MERGED)


def test_starting_wakes_ksmd_and_stopping_lets_it_sleep() -> None:
    """pages_to_scan and sleep_millisecs: one batch a wake-up, as a real kernel did it."""

    async def body(w: KernelWorld) -> None:
        await w.write(f"{KSM}/pages_to_scan", "2")
        await w.write(f"{KSM}/sleep_millisecs", "400")
        await w.rt.cond_resched("task.1")
        seen = []
        for _ in range(5):
            before = await sysfs.read_ksm_full_scans(w.g)
            await w.write(f"{KSM}/run", "1")
            await w.rt.cond_resched("task.2")
            await w.write(f"{KSM}/run", "0")
            await w.rt.cond_resched("task.3")
            seen.append((await sysfs.read_ksm_full_scans(w.g) - before, *w.counters()))
        assert seen == [
            (0, 1, 1, 0, 4),
            (0, 1, 3, 0, 2),
            (0, 1, 5, 0, 0),
            (1, 1, 5, 0, 0),
            (0, 1, 5, 0, 0),
        ]

    async def first_scan(w: KernelWorld) -> None:
        await w.scan()

    # Of each pair of stops of ksmd the first is asleep after its batch, the second waits for work.
    wake = ("task@task.2", "ksmd@ksm_scan_thread.7#2", "task@task.3", "ksmd@ksm_scan_thread.7")
    schedule = turns("first", "task@task.1", "ksmd@ksm_scan_thread.7", *wake * 5, "task", "ksmd")
    w = KernelWorld(
        ksm(run=0, batches=20),
        process("A", *[8] * 6, mergeable=True),
        actor("task", "user_task"),
        actor("first", "user_task"),
        actor("ksmd", "ksmd"),
        strategy=schedule,
    )
    assert w.go(body, first_scan).found == []


def test_failed_unmerging_stops_ksmd_and_shows_as_the_answer_of_the_write() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.write(f"{KSM}/run", "2") == -ENOMEM
        assert await w.read(f"{KSM}/run") == "0"
        assert w.ksm.ksm_thread_mutex.free
        assert await w.write(f"{KSM}/run", "2") == 0
        assert await w.read(f"{KSM}/run") == "2"

    run(body, *MERGED, faults=["enomem"], choices=Choices(faults=[1]))


def test_signal_interrupts_the_unmerging() -> None:
    async def writer(w: KernelWorld) -> None:
        assert await w.write(f"{KSM}/run", "2") == -EINTR
        assert await w.read(f"{KSM}/run") == "0"
        assert w.shot("A").ksm == "pKKp"  # type: ignore[union-attr]

    async def killer(w: KernelWorld) -> None:
        assert w.ksm.ksm_thread_mutex.held_by(w.rt.actors[0])
        assert await send_sig(w.g, "writer", AT) == 0

    schedule = turns("writer@break_ksm.4/put_page", "killer", "writer")
    w = KernelWorld(*MERGED, actors=("writer", "killer"), strategy=schedule)
    assert w.go(writer, killer).found == []


def test_unmerging_waits_for_the_whole_of_an_offline_and_nobody_else_does() -> None:
    async def driver(w: KernelWorld) -> None:
        assert await w.offline(1) == -EINTR
        w.log.append("offline gave up")

    async def unmerger(w: KernelWorld) -> None:
        assert await w.write(f"{KSM}/run", "2") == 0
        assert await w.read(f"{KSM}/run") == "2"
        w.log.append("unmerged")

    async def other(w: KernelWorld) -> None:
        assert w.ksm.ksm_thread_mutex.held_by(w.rt.actors[0])
        assert await w.read(f"{KSM}/run") == "1"
        assert await w.store("B:0", 173) == 0
        assert await w.madvise("B:0", 4, mergeable=False) == 0
        assert await w.read(f"{KSM}/pages_sharing") == "5"
        w.log.append("others went on")
        assert await send_sig(w.g, "driver", AT) == 0

    schedule = turns(
        "driver@offline_pages.9",
        "unmerger@run_store.2",
        "other",
        "driver",
        "unmerger",
    )
    groups = (["A:0", "A:1", "A:2", "A:3"], ["A:6", "A:7"], ["B:0", "B:1"])
    parts = (
        ksm(*groups),
        process("A", *[160] * 4, 161, 162, 163, 163, mergeable=True, node=1),
        process("B", 170, 170, 171, 172, mergeable=True),
    )
    w = KernelWorld(*parts, actors=("driver", "unmerger", "other"), strategy=schedule)
    assert w.go(driver, unmerger, other).found == []
    assert w.log == ["others went on", "offline gave up", "unmerged"]
    assert w.counters() == (0, 0, 0, 0)
    assert w.contents("B") == [173, 170, 171, 172]


def test_count_of_volatile_pages_is_never_negative() -> None:
    async def reader(w: KernelWorld) -> None:
        assert await w.read(f"{KSM}/pages_volatile") == "0"

    async def scanner(w: KernelWorld) -> None:
        assert w.ksm.ksm_rmap_items.value == 0
        await w.scan(2)
        assert w.counters() == (1, 1, 0, 0)

    schedule = turns("reader@pages_volatile_show.1#2", "scanner", "reader")
    w = KernelWorld(
        process("A", 7, 7, mergeable=True), actors=("reader", "scanner"), strategy=schedule
    )
    assert w.go(reader, scanner).found == []


def test_count_of_volatile_pages_may_be_too_large_while_ksmd_works() -> None:
    async def reader(w: KernelWorld) -> None:
        assert await w.read(f"{KSM}/pages_volatile") == "2"

    async def scanner(w: KernelWorld) -> None:
        await w.scan()
        await w.rt.cond_resched("scanner.1")
        await w.write(f"{KSM}/run", "2")
        assert w.counters() == (0, 0, 0, 0)

    schedule = turns("scanner@scanner.1", "reader@pages_volatile_show.1#2", "scanner", "reader")
    w = KernelWorld(
        process("A", 7, 7, mergeable=True), actors=("reader", "scanner"), strategy=schedule
    )
    assert w.go(reader, scanner).found == []
