# SPDX-License-Identifier: GPL-2.0-or-later
"""Producer and consumer with a mutex and two condition variables.

Bug: the store is not empty at the start, and nobody takes what is produced: in `sync01` the
consumer takes nothing, in `sync02` it takes the two that were there. The producer waits for ever.
Depth 1: it happens in every execution. Corrected: the store is empty at the start, and each item is
consumed.

Source: sync01_bad, sync02_bad and their corrected forms in SCTBench (Thomson, Donaldson, Betts,
"Concurrency Testing Using Controlled Schedulers: An Empirical Study", TOPC 2016). The condition
variable is made of a wait queue and a count of signals, as on a futex.
"""

from __future__ import annotations

from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched import IdealLock, Program, bind


class Condition:
    """A condition variable; a signal wakes all who wait, and each looks again."""

    def __init__(self, p: Program, name: str) -> None:
        self._signals = p.counter(f"{name}.signals")
        self._queue = WaitQueue(p.box, name)

    async def wait(self, at: str, lock: IdealLock) -> None:
        """Release the lock and wait for a signal that was not given yet; take the lock again."""
        seen = await self._signals.read(at)
        await lock.release(at)
        await self._queue.wait_event(at, lambda: self._signals.value != seen, idle=False)
        await lock.acquire(at)

    async def signal(self, at: str) -> None:
        """Let those who wait look again."""
        await self._signals.inc(at)
        await self._queue.wake_up(at)


def store(p: Program, *, at_start: int, produced: int, consumed: int, taken_each: int) -> None:
    lock, items = p.lock("lock"), p.cell("items", at_start)
    empty, full = Condition(p, "empty"), Condition(p, "full")

    async def producer() -> None:
        for _ in range(produced):
            await lock.acquire("produce.1")
            while await items.read("produce.2") > 0:
                await empty.wait("produce.3", lock)
            await items.write("produce.5", await items.read("produce.4") + 1)
            await lock.release("produce.6")
            await full.signal("produce.7")

    async def consumer() -> None:
        for _ in range(consumed):
            await lock.acquire("consume.1")
            while await items.read("consume.2") == 0:
                await full.wait("consume.3", lock)
            await items.write("consume.5", await items.read("consume.4") - taken_each)
            await lock.release("consume.6")
            await empty.signal("consume.7")

    p.task("producer", producer)
    p.task("consumer", consumer)


sync01 = bind(store, at_start=1, produced=1, consumed=1, taken_each=0)
sync02 = bind(store, at_start=2, produced=2, consumed=2, taken_each=1)
sync01_fixed = bind(store, at_start=0, produced=1, consumed=1, taken_each=1)
sync02_fixed = bind(store, at_start=0, produced=2, consumed=2, taken_each=1)
