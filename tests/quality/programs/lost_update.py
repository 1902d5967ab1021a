# SPDX-License-Identifier: GPL-2.0-or-later
"""Lost update: tasks that read a word, then write one more than what they read.

Bug: two reads before either write, and one addition is lost. Depth 2: one task is held up between
its read and its write while another one runs through. With an atomic addition there is no bug.

Source: the running example of the DPOR papers, as in Abdulla, Aronis, Jonsson, Sagonas, "Source
Sets: A Foundation for Optimal Dynamic Partial Order Reduction", JACM 2017. Inequivalent executions
of n tasks, counted by the orders of reads and writes of one word: 4, 36, 576 for n = 2, 3, 4.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def lost_update(p: Program, nr_tasks: int) -> None:
    word = p.cell("word", 0)

    async def adder() -> None:
        seen = await word.read("add.1")
        await word.write("add.2", seen + 1)

    for number in range(nr_tasks):
        p.task(f"adder{number}", adder, like="adder")
    p.at_end(lambda: p.check(word.value == nr_tasks, "an update got lost"))


def atomic_update(p: Program, nr_tasks: int) -> None:
    word = p.counter("word")

    async def adder() -> None:
        await word.add("add.1", 1)

    for number in range(nr_tasks):
        p.task(f"adder{number}", adder, like="adder")
    p.at_end(lambda: p.check(word.value == nr_tasks, "an update got lost"))


lost_update_2 = bind(lost_update, 2)
lost_update_3 = bind(lost_update, 3)
lost_update_4 = bind(lost_update, 4)
lost_update_3_fixed = bind(atomic_update, 3)
