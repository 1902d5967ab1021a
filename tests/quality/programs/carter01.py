# SPDX-License-Identifier: GPL-2.0-or-later
"""Carter: two classes of tasks share a resource; the first of a class locks it, the last unlocks.

Bug: a counter's lock is held while waiting for the resource, and is needed to give the resource
back. Depth 2: a task of one class is held up once it has the resource; one of the other class takes
the counters' lock and waits; the first cannot get the lock back. Two further tasks do nothing.
Corrected: each class has its own lock for its counter.

Source: carter01_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Program, bind


def two_classes(p: Program, nr_locks: int) -> None:
    locks = [p.lock(f"counting{number}") for number in range(nr_locks)]
    resource = p.lock("resource")

    def worker(number: int) -> Callable[[], Awaitable[None]]:
        lock, count = locks[number % nr_locks], p.cell(f"count{number}", 0)

        async def body() -> None:
            await lock.acquire("enter.1")
            users = await count.read("enter.2") + 1
            await count.write("enter.3", users)
            if users == 1:
                await resource.acquire("enter.4")
            await lock.release("enter.5")
            await lock.acquire("leave.1")
            users = await count.read("leave.2") - 1
            await count.write("leave.3", users)
            if users == 0:
                await resource.release("leave.4")
            await lock.release("leave.5")

        return body

    async def idle() -> None:
        pass

    p.task("a1", worker(0))
    p.task("b1", worker(1))
    p.task("a2", idle, like="idle")
    p.task("b2", idle, like="idle")


carter01 = bind(two_classes, 1)
carter01_fixed = bind(two_classes, 2)
