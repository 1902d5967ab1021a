# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory notifiers of drivers, as a scenario declares them: some veto, some keep a lock.

The pattern of keeping a mutex from MEM_GOING_OFFLINE to MEM_OFFLINE is the pSeries balloon
driver's (specification NT). Tests: `tests/unit/test_notifier.py`, `tests/races/`.
"""

from __future__ import annotations

import errno

from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_hotplug import MEM_CANCEL_OFFLINE, MEM_GOING_OFFLINE, MEM_OFFLINE
from ksmtrio.notifier import (
    NOTIFY_BAD,
    NOTIFY_OK,
    MemoryNotify,
    NotifierBlock,
    notifier_from_errno,
)
from ksmtrio.sched.points import Points

DRIVER = Points(__name__, "driver_memory_callback", "", "1 2 3")


class Driver:
    """One driver with a memory notifier.

    Args:
        g: the kernel.
        name: shown in traces.
        veto: refuse MEM_GOING_OFFLINE.
        veto_errno: name of the errno to refuse with; "" for NOTIFY_BAD.
        keeps_lock: hold a mutex of its own from MEM_GOING_OFFLINE to MEM_OFFLINE or a cancel.
    """

    def __init__(
        self, g: Globals, name: str, *, veto: bool, veto_errno: str, keeps_lock: bool
    ) -> None:
        self._g = g
        self._mutex = Mutex(g, f"{name}_mutex") if keeps_lock else None
        self._locked = False
        self._veto = 0
        if veto:
            number = getattr(errno, veto_errno) if veto_errno else 0
            self._veto = notifier_from_errno(-number) if number else NOTIFY_BAD

    async def callback(self, action: str, _: MemoryNotify) -> int:
        """The notifier: veto, or lock and unlock in balance."""
        await self._g.rt.cond_resched(DRIVER["1"])
        if action == MEM_GOING_OFFLINE:
            if self._veto:
                return self._veto
            if self._mutex is not None:
                await self._mutex.lock(DRIVER["2"])
                self._locked = True
        elif action in (MEM_OFFLINE, MEM_CANCEL_OFFLINE) and self._locked:
            self._locked = False
            if self._mutex is not None:
                await self._mutex.unlock(DRIVER["3"])
        return NOTIFY_OK


def register_driver(
    g: Globals, name: str, *, priority: int, veto: bool, veto_errno: str, keeps_lock: bool
) -> None:
    """Put a driver's callback on the memory notifier chain."""
    driver = Driver(g, name, veto=veto, veto_errno=veto_errno, keeps_lock=keeps_lock)
    g.memory_chain.register_at_boot(NotifierBlock(name, driver.callback, priority))
