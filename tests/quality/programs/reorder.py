# SPDX-License-Identifier: GPL-2.0-or-later
"""Reorder: setters write a, then b; a checker reads a, then b, and must see none or both writes.

Bug: the checker sees one of the two words written and not the other. Depth 2: the checker is held
up between its reads while any setter runs through (it saw a = 0, b = -1), or every setter that has
begun is held up between its writes while the checker runs (a = 1, b = 0). The more setters, the
less likely: almost any random schedule has some setter finish before the checker begins. Corrected:
setters and checkers hold one lock.

Source: reorder_3_bad ... reorder_20_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency
Testing Using Controlled Schedulers: An Empirical Study", TOPC 2016): reorder_N has N - 1 setters
and one checker, but reorder_20 ten of each. reorder_50 and reorder_100 as in later work on
sampling. As a DPOR count, with n setters and one checker: ((n + 1)!) ** 2 inequivalent executions,
since each order of the n + 1 accesses to a goes with each order of those to b. For that the check
comes at the end, so that no execution is cut short.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def reorder(p: Program, *, nr_setters: int, nr_checkers: int) -> None:
    a, b = p.cell("a", 0), p.cell("b", 0)

    async def setter() -> None:
        await a.write("set.1", 1)
        await b.write("set.2", -1)

    async def checker() -> None:
        seen = (await a.read("check.1"), await b.read("check.2"))
        p.check(seen in {(0, 0), (1, -1)}, f"a half-done write was seen: a, b = {seen}")

    for number in range(nr_setters):
        p.task(f"setter{number}", setter, like="setter")
    for number in range(nr_checkers):
        p.task(f"checker{number}", checker, like="checker")


def looked_at_last(p: Program, nr_setters: int) -> None:
    a, b = p.cell("a", 0), p.cell("b", 0)
    seen: list[tuple[int, int]] = []

    async def setter() -> None:
        await a.write("set.1", 1)
        await b.write("set.2", -1)

    async def checker() -> None:
        seen.append((await a.read("check.1"), await b.read("check.2")))

    for number in range(nr_setters):
        p.task(f"setter{number}", setter, like="setter")
    p.task("checker0", checker)
    p.at_end(lambda: p.check(seen[0] in {(0, 0), (1, -1)}, "a half-done write was seen"))


def ordered(p: Program, *, nr_setters: int, nr_checkers: int) -> None:
    a, b, lock = p.cell("a", 0), p.cell("b", 0), p.lock("lock")

    async def setter() -> None:
        await lock.acquire("set.1")
        await a.write("set.2", 1)
        await b.write("set.3", -1)
        await lock.release("set.4")

    async def checker() -> None:
        await lock.acquire("check.1")
        seen = (await a.read("check.2"), await b.read("check.3"))
        await lock.release("check.4")
        p.check(seen in {(0, 0), (1, -1)}, f"a half-done write was seen: a, b = {seen}")

    for number in range(nr_setters):
        p.task(f"setter{number}", setter, like="setter")
    for number in range(nr_checkers):
        p.task(f"checker{number}", checker, like="checker")


reorder_2_setters = bind(looked_at_last, 2)
reorder_3_setters = bind(looked_at_last, 3)
reorder_4_setters = bind(looked_at_last, 4)

reorder_3 = bind(reorder, nr_setters=2, nr_checkers=1)
reorder_4 = bind(reorder, nr_setters=3, nr_checkers=1)
reorder_5 = bind(reorder, nr_setters=4, nr_checkers=1)
reorder_10 = bind(reorder, nr_setters=9, nr_checkers=1)
reorder_20 = bind(reorder, nr_setters=10, nr_checkers=10)
reorder_50 = bind(reorder, nr_setters=49, nr_checkers=1)
reorder_100 = bind(reorder, nr_setters=99, nr_checkers=1)

reorder_3_fixed = bind(ordered, nr_setters=2, nr_checkers=1)
reorder_5_fixed = bind(ordered, nr_setters=4, nr_checkers=1)
reorder_100_fixed = bind(ordered, nr_setters=99, nr_checkers=1)
