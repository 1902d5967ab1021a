# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocking notifier chains with priorities. Kernel: kernel/notifier.c, v2.6.33; specification NT.

Tests: `tests/unit/test_notifier.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from ksmtrio.locking.rwsem import RwSem
from ksmtrio.sched.cell import SharedObject
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.points import Points
from ksmtrio.sched.runtime import Runtime

NOTIFY_DONE: Final = 0x0000
NOTIFY_OK: Final = 0x0001
NOTIFY_STOP_MASK: Final = 0x8000
NOTIFY_BAD: Final = NOTIFY_STOP_MASK | 0x0002
_EPERM: Final = 1

NT = Points(__name__, "memory_notify", "NT", "1 2 3")


def notifier_from_errno(error: int) -> int:
    """Return the veto for a negative errno."""
    return NOTIFY_STOP_MASK | (NOTIFY_OK - error)


def notifier_to_errno(result: int) -> int:
    """Return 0 or a negative errno for a chain's result; NOTIFY_BAD is -EPERM."""
    result &= ~NOTIFY_STOP_MASK
    return NOTIFY_OK - result if result > NOTIFY_OK else 0


@attrs.frozen
class MemoryNotify:
    """struct memory_notify: the range, in frames, half open, and the node it empties (-1: none)."""

    start_pfn: int
    nr_pages: int
    status_change_nid: int = -1


Callback = Callable[[str, MemoryNotify], Awaitable[int]]
"""(action, range) -> NOTIFY_*; actions are ``MEM_GOING_OFFLINE`` and so on."""


@attrs.frozen(eq=False)
class NotifierBlock:
    """struct notifier_block."""

    name: str
    callback: Callback
    priority: int = 0


class BlockingNotifierChain(SharedObject):
    """memory_chain: callbacks in descending priority, equal ones in order of registration."""

    __slots__ = ("_chain", "_label", "rwsem")

    chain: Guarded[tuple[NotifierBlock, ...]] = Guarded(
        lambda self, actor: self.rwsem.held_by(actor),
        "memory_chain.rwsem",
        writers=lambda self, actor: self.rwsem.write_held_by(actor),
    )

    def __init__(self, rt: Runtime, name: str) -> None:
        super().__init__(rt)
        self._label = name
        self._chain: tuple[NotifierBlock, ...] = ()
        self.rwsem = RwSem(self, "rwsem", f"{name}.rwsem")

    @property
    def name(self) -> str:
        """Kernel name of the chain."""
        return self._label

    def register_at_boot(self, block: NotifierBlock) -> None:
        """Add a callback before any actor runs."""
        ordered = sorted([*self._chain, block], key=lambda b: -b.priority)
        self._chain = tuple(ordered)

    async def call_chain(self, action: str, arg: MemoryNotify) -> int:
        """Tell every callback until one stops the walk; return the last result.

        Kernel: drivers/base/memory.c, memory_notify() and kernel/notifier.c, v2.6.33.

        Steps of NT:
            1. LOCK the chain's rwsem for read (sleeps).
            2. Call the next callback; its result has the STOP bit: go to 3.
            3. UNLOCK; return the last result.
        """
        rt = self.rt
        if rt.recorder is not None:
            rt.recorder.tracepoint(
                NT["1"],
                f"memhp:{action.lower()}",
                {"start_pfn": arg.start_pfn, "nr_pages": arg.nr_pages},
            )
        await self.rwsem.down_read(NT["1"])
        result = NOTIFY_DONE
        for block in self.chain:
            await rt.cond_resched(NT["2"])
            result = await block.callback(action, arg)
            if result & NOTIFY_STOP_MASK:
                break
        await self.rwsem.up_read(NT["3"])
        return result
