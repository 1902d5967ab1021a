# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy: two tasks add 1 and 2 to a word, a third asserts that it is less than 3; all under a lock.

Bug: it is 3 when the third comes last. Depth 1: an order of the three is enough. Corrected: the
assertion allows 3.

Source: lazy01_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Program, bind


def adders_and_check(p: Program, limit: int) -> None:
    lock, data = p.lock("lock"), p.cell("data", 0)

    def adder(delta: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            await lock.acquire("add.1")
            await data.write("add.3", await data.read("add.2") + delta)
            await lock.release("add.4")

        return body

    async def check() -> None:
        await lock.acquire("check.1")
        p.check(await data.read("check.2") < limit, f"data reached {limit}")
        await lock.release("check.3")

    p.task("one", adder(1))
    p.task("two", adder(2))
    p.task("check", check)


lazy01 = bind(adders_and_check, 3)
lazy01_fixed = bind(adders_and_check, 4)
