# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers: one task writes a word; n others read a word of their own, then that word.

No bug. Each reader comes before or after the write: 2 ** n inequivalent executions. The reads of
words that nobody else touches, and reads among themselves, must not add to that.

Source: readers(n) in Abdulla, Aronis, Jonsson, Sagonas, "Optimal Dynamic Partial Order Reduction",
POPL 2014, and in its longer form, "Source Sets", JACM 2017; accesses as in the suite of the tool
Concuerror that those papers measure with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksmtrio.sched import Program, bind


def readers(p: Program, nr_readers: int) -> None:
    shared = p.cell("x", 0)

    async def writer() -> None:
        await shared.write("write.1", 42)

    def reader(number: int) -> Callable[[], Awaitable[None]]:
        own = p.cell(f"own{number}", 0)

        async def body() -> None:
            await own.read("read.1")
            await shared.read("read.2")

        return body

    p.task("writer", writer)
    for number in range(nr_readers):
        p.task(f"reader{number}", reader(number))


readers_2 = bind(readers, 2)
readers_3 = bind(readers, 3)
readers_4 = bind(readers, 4)
readers_8 = bind(readers, 8)
readers_13 = bind(readers, 13)
