# SPDX-License-Identifier: GPL-2.0-or-later
"""Circular buffer: a sender and a receiver take turns by two flags, seven turns each.

Bug: both count turns in which they may do nothing, so that what is received is not what the
receiver's turn makes it expect. Depth 2: either is held up after such a turn. Corrected: both count
what they sent and received.

Source: circular_buffer_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using
Controlled Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from typing import Final

from ksmtrio.sched import Program, bind

TURNS: Final = 7
SIZE: Final = 10


def sender_and_receiver(p: Program, *, count_all: bool) -> None:
    buffer = [p.cell(f"buffer[{index}]", -1) for index in range(SIZE)]
    first, free = p.cell("first", 0), p.cell("free", 0)
    lock = p.lock("lock")
    may_send, may_receive = p.cell("may_send", True), p.cell("may_receive", False)

    async def insert(value: int) -> None:
        place = await free.read("insert.1")
        await buffer[place].write("insert.2", value)
        await free.write("insert.3", (place + 1) % SIZE)

    async def remove() -> int:
        place = await first.read("remove.1")
        await first.write("remove.2", place + 1)
        return await buffer[place].read("remove.3")

    async def sender() -> None:
        sent = 0
        for turn in range(TURNS):
            await lock.acquire("send.1")
            if await may_send.read("send.2"):
                await insert(turn if count_all else sent)
                sent += 1
                await may_send.write("send.3", False)
                await may_receive.write("send.4", True)
            await lock.release("send.5")

    async def receiver() -> None:
        received = 0
        for turn in range(TURNS):
            await lock.acquire("receive.1")
            if await may_receive.read("receive.2"):
                expected = turn if count_all else received
                received += 1
                p.check(await remove() == expected, f"value {expected} was expected")
                await may_receive.write("receive.3", False)
                await may_send.write("receive.4", True)
            await lock.release("receive.5")

    p.task("sender", sender)
    p.task("receiver", receiver)


circular_buffer = bind(sender_and_receiver, count_all=True)
circular_buffer_fixed = bind(sender_and_receiver, count_all=False)
