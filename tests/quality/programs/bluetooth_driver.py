# SPDX-License-Identifier: GPL-2.0-or-later
"""Bluetooth driver: one task does I/O while another one stops the device.

A count of pending I/O, 1 for the driver itself, is raised around each request; who brings it down
to 0 signals that the device may be freed. Bug: the request looks at the stopping flag before it
raises the count, so that a stop in between sees no I/O, and the request runs on a stopped device.
Depth 2: the request is held up right after its look while the stop runs through. Corrected: the
count is raised first.

Source: Qadeer, Wu, "KISS: Keep It Simple and Sequential", PLDI 2004, after a Windows driver;
bluetooth_driver_bad of SCTBench (Thomson, Donaldson, Betts, TOPC 2016).
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def driver(p: Program, *, raise_first: bool) -> None:
    pending, stopping = p.counter("pending", 1), p.cell("stopping", False)
    event, stopped = p.cell("event", False), p.cell("stopped", False)

    async def decrement() -> None:
        if await pending.dec_and_test("dec.1"):
            await event.write("dec.2", True)

    async def increment() -> bool:
        """Return whether I/O may go on."""
        if raise_first:
            await pending.inc("inc.1")
            return not await stopping.read("inc.2")
        if await stopping.read("inc.3"):
            return False
        await pending.inc("inc.4")
        return True

    async def add() -> None:
        if await increment():
            p.check(not await stopped.read("add.1"), "I/O on a stopped device")
        await decrement()

    async def stop() -> None:
        await stopping.write("stop.1", True)
        await decrement()
        if await event.read("stop.2"):
            await stopped.write("stop.3", True)

    p.task("stop", stop)
    p.task("add", add)


bluetooth_driver = bind(driver, raise_first=False)
bluetooth_driver_fixed = bind(driver, raise_first=True)
