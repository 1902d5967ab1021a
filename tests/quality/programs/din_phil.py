# SPDX-License-Identifier: GPL-2.0-or-later
"""Dining philosophers: each of n takes the fork to the right, then the one to the left.

Bug: all have one fork and wait for the other. Depth 2: the first is held up between its forks; the
others, coming in the order of the table, wait by themselves. Corrected: the last philosopher takes
the left fork first.

`din_phil_N_sat` is the form in SCTBench: both forks are taken under one more lock, so that nobody
gets stuck; then each counts itself without a lock, and an assertion fails when the count is n. It
fails unless an addition is lost: depth 1.

Source: din_phil2_sat ... din_phil7_sat of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing
Using Controlled Schedulers: An Empirical Study", TOPC 2016); the problem is Dijkstra's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Program, bind


def philosophers(p: Program, *, nr: int, left_handed: int) -> None:
    forks = [p.lock(f"fork{number}") for number in range(nr)]

    def philosopher(number: int) -> Callable[[], Awaitable[None]]:
        left, right = forks[number], forks[(number + 1) % nr]
        first, second = (left, right) if number < left_handed else (right, left)

        async def body() -> None:
            await first.acquire("dine.1")
            await second.acquire("dine.2")
            await second.release("dine.3")
            await first.release("dine.4")

        return body

    for number in range(nr):
        p.task(f"philosopher{number}", philosopher(number))


def counted(p: Program, nr: int) -> None:
    forks = [p.lock(f"fork{number}") for number in range(nr)]
    table, fed = p.lock("table"), p.cell("fed", 0)

    def philosopher(number: int) -> Callable[[], Awaitable[None]]:
        left, right = forks[number], forks[(number + 1) % nr]

        async def body() -> None:
            await table.acquire("dine.1")
            await right.acquire("dine.2")
            await left.acquire("dine.3")
            await left.release("dine.4")
            await right.release("dine.5")
            await table.release("dine.6")
            await fed.write("dine.8", await fed.read("dine.7") + 1)
            p.check(await fed.read("dine.9") != nr, "all have dined")

        return body

    for number in range(nr):
        p.task(f"philosopher{number}", philosopher(number))


din_phil_2 = bind(philosophers, nr=2, left_handed=0)
din_phil_3 = bind(philosophers, nr=3, left_handed=0)
din_phil_4 = bind(philosophers, nr=4, left_handed=0)
din_phil_5 = bind(philosophers, nr=5, left_handed=0)
din_phil_6 = bind(philosophers, nr=6, left_handed=0)
din_phil_7 = bind(philosophers, nr=7, left_handed=0)
din_phil_2_fixed = bind(philosophers, nr=2, left_handed=1)
din_phil_3_fixed = bind(philosophers, nr=3, left_handed=1)
din_phil_7_fixed = bind(philosophers, nr=7, left_handed=1)
din_phil_2_sat = bind(counted, 2)
din_phil_3_sat = bind(counted, 3)
din_phil_4_sat = bind(counted, 4)
din_phil_5_sat = bind(counted, 5)
din_phil_6_sat = bind(counted, 6)
din_phil_7_sat = bind(counted, 7)
