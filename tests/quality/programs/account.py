# SPDX-License-Identifier: GPL-2.0-or-later
"""Account: one task deposits, one withdraws, one checks the balance, all under one lock.

Bug: the check expects that the deposit was subtracted; it fails whenever it comes last. Depth 1: an
order of the three is enough. Corrected: it expects what the others do.

Source: account_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016).
"""

from __future__ import annotations

from typing import Final

from ksmtrio.sched import Program, bind

BEFORE: Final = 1
DEPOSIT: Final = 2
WITHDRAWAL: Final = 4


def three_tasks(p: Program, expected: int) -> None:
    lock, balance = p.lock("lock"), p.cell("balance", BEFORE)
    deposited, withdrawn = p.cell("deposited", False), p.cell("withdrawn", False)

    async def deposit() -> None:
        await lock.acquire("deposit.1")
        await balance.write("deposit.3", await balance.read("deposit.2") + DEPOSIT)
        await deposited.write("deposit.4", True)
        await lock.release("deposit.5")

    async def withdraw() -> None:
        await lock.acquire("withdraw.1")
        await balance.write("withdraw.3", await balance.read("withdraw.2") - WITHDRAWAL)
        await withdrawn.write("withdraw.4", True)
        await lock.release("withdraw.5")

    async def check() -> None:
        await lock.acquire("check.1")
        if await deposited.read("check.2") and await withdrawn.read("check.3"):
            p.check(await balance.read("check.4") == expected, "the balance is not as expected")
        await lock.release("check.5")

    p.task("check", check)
    p.task("deposit", deposit)
    p.task("withdraw", withdraw)


account = bind(three_tasks, BEFORE - DEPOSIT - WITHDRAWAL)
account_fixed = bind(three_tasks, BEFORE + DEPOSIT - WITHDRAWAL)
