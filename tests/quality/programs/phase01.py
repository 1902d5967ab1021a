# SPDX-License-Identifier: GPL-2.0-or-later
"""Phases: two equal tasks take and release one lock twice, then another one twice.

Bug: the second release of the first lock is missing, so that whoever comes second waits for ever.
Depth 1: it happens in every execution. Corrected: with the release.

Source: phase01_bad and phase01_ok of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing
Using Controlled Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def phases(p: Program, *, release: bool) -> None:
    x, y = p.lock("x"), p.lock("y")

    async def task() -> None:
        await x.acquire("phase.1")
        await x.release("phase.2")
        await x.acquire("phase.3")
        if release:
            await x.release("phase.4")
        await y.acquire("phase.5")
        await y.release("phase.6")
        await y.acquire("phase.7")
        await y.release("phase.8")

    p.task("t1", task, like="task")
    p.task("t2", task, like="task")


phase01 = bind(phases, release=False)
phase01_fixed = bind(phases, release=True)
