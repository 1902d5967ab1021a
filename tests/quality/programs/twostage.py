# SPDX-License-Identifier: GPL-2.0-or-later
"""Two-stage update: a writer sets two words under two locks, one after the other.

Bug: each word is well guarded, the pair is not: a reader that comes between the two stages sees the
first word new and the second one old. Depth 2: all writers that have begun are held up between
their stages while the reader runs. With 99 writers nearly every random schedule has one of them
finish first. Corrected: one lock over both stages, and over both reads.

Source: twostage_bad, twostage_100_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing
Using Controlled Schedulers: An Empirical Study", TOPC 2016): 1 or 99 writers and one reader.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def two_stages(p: Program, nr_writers: int) -> None:
    first, second = p.cell("first", 0), p.cell("second", 0)
    first_lock, second_lock = p.lock("first_lock"), p.lock("second_lock")

    async def writer() -> None:
        await first_lock.acquire("write.1")
        await first.write("write.2", 1)
        await first_lock.release("write.3")
        await second_lock.acquire("write.4")
        await second.write("write.6", await first.read("write.5") + 1)
        await second_lock.release("write.7")

    async def reader() -> None:
        await first_lock.acquire("read.1")
        seen = await first.read("read.2")
        await first_lock.release("read.3")
        if seen == 0:
            return
        await second_lock.acquire("read.4")
        then = await second.read("read.5")
        await second_lock.release("read.6")
        p.check(then == seen + 1, f"the stages do not fit: {seen}, then {then}")

    for number in range(nr_writers):
        p.task(f"writer{number}", writer, like="writer")
    p.task("reader", reader)


def one_stage(p: Program, nr_writers: int) -> None:
    first, second = p.cell("first", 0), p.cell("second", 0)
    lock = p.lock("lock")

    async def writer() -> None:
        await lock.acquire("write.1")
        await first.write("write.2", 1)
        await second.write("write.4", await first.read("write.3") + 1)
        await lock.release("write.5")

    async def reader() -> None:
        await lock.acquire("read.1")
        seen, then = await first.read("read.2"), await second.read("read.3")
        await lock.release("read.4")
        p.check(seen == 0 or then == seen + 1, f"the stages do not fit: {seen}, then {then}")

    for number in range(nr_writers):
        p.task(f"writer{number}", writer, like="writer")
    p.task("reader", reader)


twostage = bind(two_stages, 1)
twostage_2 = bind(two_stages, 2)
twostage_100 = bind(two_stages, 99)
twostage_fixed = bind(one_stage, 1)
twostage_2_fixed = bind(one_stage, 2)
twostage_100_fixed = bind(one_stage, 99)
