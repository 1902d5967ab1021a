# SPDX-License-Identifier: GPL-2.0-or-later
"""Queue: a producer puts 0, 1, 2 ... into a queue, a consumer takes them out, by turns and flags.

Bug: the consumer counts a turn in which it might not take anything, and then compares what it takes
with a later value. Depth 2: the consumer is held up after such a turn. Corrected: it counts what it
took.

Source: queue_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016); 20 turns.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.sched import Program, bind

SIZE: Final = 20


def producer_and_consumer(p: Program, *, count_all: bool) -> None:
    lock, content = p.lock("lock"), p.cell("content", ())
    may_put, may_take = p.cell("may_put", True), p.cell("may_take", False)
    values = p.cell("stored", ())

    async def put(value: int) -> None:
        await content.write("put.2", (*await content.read("put.1"), value))
        await values.write("put.4", (*await values.read("put.3"), value))

    async def take() -> int:
        first, *rest = await content.read("take.1")
        await content.write("take.2", tuple(rest))
        return first

    async def producer() -> None:
        value = 0
        await lock.acquire("produce.1")
        await put(value)
        await lock.release("produce.2")
        for _ in range(SIZE - 1):
            await lock.acquire("produce.3")
            if await may_put.read("produce.4"):
                value += 1
                await put(value)
                await may_put.write("produce.5", False)
                await may_take.write("produce.6", True)
            await lock.release("produce.7")

    async def consumer() -> None:
        taken = 0
        for turn in range(SIZE):
            await lock.acquire("consume.1")
            if await may_take.read("consume.2"):
                place = turn if count_all else taken
                taken += 1
                stored = await values.read("consume.3")
                value = await take()
                p.check(stored[place : place + 1] == (value,), f"{value} was not stored there")
                await may_take.write("consume.4", False)
                await may_put.write("consume.5", True)
            await lock.release("consume.6")

    p.task("producer", producer)
    p.task("consumer", consumer)


queue = bind(producer_and_consumer, count_all=True)
queue_fixed = bind(producer_and_consumer, count_all=False)
