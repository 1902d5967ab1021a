# SPDX-License-Identifier: GPL-2.0-or-later
"""Token ring: three tasks pass a value round, each in one step; a fourth checks that all agree.

Bug: they agree only if the tasks come in the order of the ring. Depth 1: another order, with the
check last, is enough. Corrected: each waits for its turn, that is, does nothing out of turn.

Source: token_ring_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016). A lock makes each task one step, as there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Cell, Program, bind


def ring(p: Program, *, in_turn: bool) -> None:
    lock = p.lock("atomic")
    x1, x2, x3 = p.cell("x1", 1), p.cell("x2", 2), p.cell("x3", 1)
    passed = [p.cell(f"passed{number}", False) for number in range(3)]

    def member(
        number: int, source: Cell[int], target: Cell[int], delta: int
    ) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            await lock.acquire("pass.1")
            if not in_turn or number == 0 or await passed[number - 1].read("pass.2"):
                await target.write("pass.4", (await source.read("pass.3") + delta) % 4)
                await passed[number].write("pass.5", True)
            await lock.release("pass.6")

        return body

    async def check() -> None:
        await lock.acquire("check.1")
        if all([await flag.read("check.2") for flag in passed]):
            values = [await word.read("check.3") for word in (x1, x2, x3)]
            p.check(len(set(values)) == 1, f"the members disagree: {values}")
        await lock.release("check.4")

    p.task("t1", member(0, x3, x1, 1))
    p.task("t2", member(1, x1, x2, 0))
    p.task("t3", member(2, x2, x3, 0))
    p.task("check", check)


token_ring = bind(ring, in_turn=False)
token_ring_fixed = bind(ring, in_turn=True)
