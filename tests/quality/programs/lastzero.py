# SPDX-License-Identifier: GPL-2.0-or-later
"""Last zero: a searcher looks for the last zero of an array that n writers fill.

No bug. The array has n + 1 words, all 0. Writer j reads word j - 1 and writes one more into word j.
The searcher begins at word n and goes down to the first word that is 0. What the searcher reads
depends on what it read before, so that control flow, and with it the races, differ between
executions; source sets alone cannot avoid all redundant explorations, wakeup trees can. There are
(n + 3) * 2 ** (n - 2) inequivalent executions.

Source: lastzero(n) in Abdulla, Aronis, Jonsson, Sagonas, "Optimal Dynamic Partial Order Reduction",
POPL 2014, and in its longer form, "Source Sets", JACM 2017.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Program, bind


def lastzero(p: Program, nr_writers: int) -> None:
    array = [p.cell(f"array[{index}]", 0) for index in range(nr_writers + 1)]

    async def searcher() -> None:
        index = nr_writers
        while await array[index].read("search.1") != 0:
            index -= 1

    def writer(number: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            before = await array[number - 1].read("write.1")
            await array[number].write("write.2", before + 1)

        return body

    p.task("searcher", searcher)
    for number in range(1, nr_writers + 1):
        p.task(f"writer{number}", writer(number))


lastzero_2 = bind(lastzero, 2)
lastzero_3 = bind(lastzero, 3)
lastzero_5 = bind(lastzero, 5)
lastzero_10 = bind(lastzero, 10)
lastzero_15 = bind(lastzero, 15)
