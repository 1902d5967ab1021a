# SPDX-License-Identifier: GPL-2.0-or-later
"""Indexer: n tasks put four messages each into a hash table of 128 words, by compare and exchange.

No bug. Message m of task t (m from 1, t from 0) is the number 11 m + t; it goes to word 7 times
itself modulo 128, or to the next free word. Up to 11 tasks never meet; each further one meets one
of the first at three words, hence 8 ** (n - 11) inequivalent executions for 11 <= n <= 15. Which
accesses conflict cannot be told before they happen: a static analysis takes all of them for
dependent.

Source: Flanagan, Godefroid, "Dynamic Partial-Order Reduction for Model Checking Software", POPL
2005; measured as indexer(n) in Abdulla, Aronis, Jonsson, Sagonas, "Optimal Dynamic Partial Order
Reduction", POPL 2014.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ksmtrio.sched import Program, bind

SIZE: Final = 128
MESSAGES: Final = 4


def indexer(p: Program, nr_tasks: int) -> None:
    table = [p.cell(f"table[{index}]", 0) for index in range(SIZE)]

    def inserter(number: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            for m in range(1, MESSAGES + 1):
                message = 11 * m + number
                index = 7 * message % SIZE
                while not await table[index].cmpxchg("insert.1", 0, message):
                    index = (index + 1) % SIZE

        return body

    for number in range(nr_tasks):
        p.task(f"inserter{number}", inserter(number))


indexer_2 = bind(indexer, 2)
indexer_11 = bind(indexer, 11)
indexer_12 = bind(indexer, 12)
indexer_13 = bind(indexer, 13)
indexer_14 = bind(indexer, 14)
indexer_15 = bind(indexer, 15)
