# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlock: two tasks take the same two locks, in opposite orders.

Bug: each has one lock and waits for the other. Depth 2: one task is held up between its locks.
Corrected: one order.

Source: deadlock01_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import IdealLock, Program, bind


def two_locks(p: Program, *, opposite: bool) -> None:
    a, b, count = p.lock("a"), p.lock("b"), p.cell("count", 1)

    def task(outer: IdealLock, inner: IdealLock, delta: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            await outer.acquire("count.1")
            await inner.acquire("count.2")
            await count.write("count.4", await count.read("count.3") + delta)
            await inner.release("count.5")
            await outer.release("count.6")

        return body

    p.task("up", task(a, b, 1))
    p.task("down", task(b, a, -1) if opposite else task(a, b, -1))


deadlock01 = bind(two_locks, opposite=True)
deadlock01_fixed = bind(two_locks, opposite=False)
