# SPDX-License-Identifier: GPL-2.0-or-later
"""Work-stealing queue: an owner pushes and pops at the tail, a thief steals at the head.

After the THE protocol of Cilk: the owner takes the lock only when it may meet the thief, the thief
always. Bug: a push leaves no spare place, so that it may overwrite an item for which a thief has
moved the head already but which it has not read yet: one item is done twice, another one never.
Depth 2: the thief is held up between moving the head and reading the item. Corrected: the push
leaves one place free.

Source: the work-stealing queue of CHESS, Musuvathi, Qadeer, Ball, Basler, Nainar, Neamtiu, "Finding
and Reproducing Heisenbugs in Concurrent Programs", OSDI 2008, as in the chess group of SCTBench:
two places at first, four items, one thief that tries twice. The protocol: Frigo, Leiserson,
Randall, "The Implementation of the Cilk-5 Multithreaded Language", PLDI 1998.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.sched import Program, bind

ITEMS: Final = 4
STEALS: Final = 2
SIZES: Final = (2, 4, 8, 16)
"""Sizes of the ring, one after the other; each has places of its own."""


class Queue:
    """The queue; `spare` places stay free in a push without the lock."""

    def __init__(self, p: Program, spare: int) -> None:
        self._p = p
        self._spare = spare
        self._lock = p.lock("lock")
        self._head, self._tail = p.cell("head", 0), p.cell("tail", 0)
        self._ring = p.cell("ring", 0)
        self._places = [
            [p.cell(f"places{size}[{index}]", -1) for index in range(size)] for size in SIZES
        ]

    async def steal(self) -> int | None:
        """Take an item from the head; None: nothing is left."""
        await self._lock.acquire("steal.1")
        item = None
        head = await self._head.read("steal.2")
        await self._head.write("steal.3", head + 1)
        if head < await self._tail.read("steal.4"):
            item = await self._get("steal.5", head)
        else:
            await self._head.write("steal.6", head)
        await self._lock.release("steal.7")
        return item

    async def pop(self) -> int | None:
        """Take an item from the tail; the owner only."""
        tail = await self._tail.read("pop.1") - 1
        await self._tail.write("pop.2", tail)
        if await self._head.read("pop.3") <= tail:
            return await self._get("pop.4", tail)
        await self._tail.write("pop.5", tail + 1)
        return await self._pop_locked()

    async def _pop_locked(self) -> int | None:
        await self._lock.acquire("pop.6")
        item = None
        tail = await self._tail.read("pop.7") - 1
        await self._tail.write("pop.8", tail)
        if await self._head.read("pop.9") <= tail:
            item = await self._get("pop.10", tail)
        else:
            await self._tail.write("pop.11", tail + 1)
        if await self._head.read("pop.12") > tail:
            await self._head.write("pop.13", 0)
            await self._tail.write("pop.14", 0)
            item = None
        await self._lock.release("pop.15")
        return item

    async def push(self, item: int) -> None:
        """Put an item at the tail; the owner only."""
        tail = await self._tail.read("push.1")
        size = SIZES[await self._ring.read("push.2")]
        if tail < await self._head.read("push.3") + size - self._spare:
            await self._put("push.4", tail, item)
            await self._tail.write("push.5", tail + 1)
        else:
            await self._push_locked(item)

    async def _push_locked(self, item: int) -> None:
        """Make room: move the indices back to the ring, or go to a larger one."""
        await self._lock.acquire("push.6")
        head = await self._head.read("push.7")
        count = await self._tail.read("push.8") - head
        ring = await self._ring.read("push.9")
        head %= SIZES[ring]
        await self._head.write("push.10", head)
        await self._tail.write("push.11", head + count)
        if count >= SIZES[ring] - 1:
            old, new = self._places[ring], self._places[ring + 1]
            for offset in range(count):
                place = old[(head + offset) % SIZES[ring]]
                await new[offset].write("push.13", await place.read("push.12"))
            await self._ring.write("push.14", ring + 1)
            await self._head.write("push.15", 0)
            await self._tail.write("push.16", count)
        tail = await self._tail.read("push.17")
        await self._put("push.18", tail, item)
        await self._tail.write("push.19", tail + 1)
        await self._lock.release("push.20")

    async def _get(self, at: str, index: int) -> int:
        places = self._places[await self._ring.read(at)]
        return await places[index % len(places)].read(at)

    async def _put(self, at: str, index: int, item: int) -> None:
        places = self._places[await self._ring.read(at)]
        await places[index % len(places)].write(at, item)


def owner_and_thief(p: Program, spare: int) -> None:
    queue = Queue(p, spare)
    done = [p.counter(f"done[{item}]") for item in range(ITEMS)]

    async def work(item: int | None) -> None:
        if item is not None:
            p.check(item >= 0, "an empty place was taken for an item")
            await done[item].inc("work.1")

    async def thief() -> None:
        for _ in range(STEALS):
            await work(await queue.steal())

    async def owner() -> None:
        for item in range(0, ITEMS, 2):
            await queue.push(item)
            await queue.push(item + 1)
            await work(await queue.pop())
        for _ in range(ITEMS // 2):
            await work(await queue.pop())

    p.task("thief", thief)
    p.task("owner", owner)
    p.at_end(lambda: p.check(all(c.value == 1 for c in done), "an item was not done just once"))


work_stealing_queue = bind(owner_and_thief, 0)
work_stealing_queue_fixed = bind(owner_and_thief, 1)
