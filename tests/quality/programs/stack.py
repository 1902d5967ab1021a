# SPDX-License-Identifier: GPL-2.0-or-later
"""Stack: one task pushes ten values, another one pops ten times once the first push was made.

Bug: the flag says that something was pushed, not that something is left. Depth 2: the pusher is
held up after a push while the other one pops more than there is. Corrected: it looks at the stack.

Source: stack_bad and stack_ok of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using
Controlled Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from typing import Final

from ksmtrio.sched import Program, bind

SIZE: Final = 10


def push_and_pop(p: Program, *, look: bool) -> None:
    values = [p.cell(f"values[{index}]", 0) for index in range(SIZE)]
    lock, top, pushed = p.lock("lock"), p.cell("top", 0), p.cell("pushed", False)

    async def pusher() -> None:
        for value in range(SIZE):
            await lock.acquire("push.1")
            height = await top.read("push.2")
            p.check(height < SIZE, "overflow")
            await values[height].write("push.3", value)
            await top.write("push.4", height + 1)
            await pushed.write("push.5", True)
            await lock.release("push.6")

    async def popper() -> None:
        for _ in range(SIZE):
            await lock.acquire("pop.1")
            height = await top.read("pop.2")
            if height > 0 if look else await pushed.read("pop.3"):
                p.check(height > 0, "underflow")
                await top.write("pop.4", height - 1)
                await values[height - 1].read("pop.5")
            await lock.release("pop.6")

    p.task("pusher", pusher)
    p.task("popper", popper)


stack = bind(push_and_pop, look=False)
stack_fixed = bind(push_and_pop, look=True)
