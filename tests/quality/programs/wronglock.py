# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong lock: one task adds to a word under one lock and looks again; others add under another one.

Bug: an addition of the others comes between the look, the addition and the second look. Depth 2:
the task is held up in between. Corrected: one lock.

Source: wronglock_bad, wronglock_3_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing
Using Controlled Schedulers: An Empirical Study", TOPC 2016): seven or three others.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def add_and_look(p: Program, *, nr_others: int, nr_locks: int) -> None:
    data = p.cell("data", 0)
    locks = [p.lock(f"lock{number}") for number in range(nr_locks)]

    async def looker() -> None:
        await locks[0].acquire("look.1")
        before = await data.read("look.2")
        await data.write("look.4", await data.read("look.3") + 1)
        p.check(await data.read("look.5") == before + 1, "somebody else added meanwhile")
        await locks[0].release("look.6")

    async def other() -> None:
        await locks[-1].acquire("add.1")
        await data.write("add.3", await data.read("add.2") + 1)
        await locks[-1].release("add.4")

    p.task("looker", looker)
    for number in range(nr_others):
        p.task(f"other{number}", other, like="other")


wronglock = bind(add_and_look, nr_others=7, nr_locks=2)
wronglock_3 = bind(add_and_look, nr_others=3, nr_locks=2)
wronglock_fixed = bind(add_and_look, nr_others=7, nr_locks=1)
wronglock_3_fixed = bind(add_and_look, nr_others=3, nr_locks=1)
