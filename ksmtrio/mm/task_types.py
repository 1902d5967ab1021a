# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel knows of a task: its thread flags and its pending signals.

Kernel: include/linux/sched.h, v2.6.33. The functions are in signal.py. Tests:
`tests/unit/test_signal.py`.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.sched.cell import Flags, SharedObject
from ksmtrio.sched.runtime import Runtime

TIF_SIGPENDING: Final = 1 << 2

SIGKILL: Final = 9
SIGUSR1: Final = 10

SIGNALS: Final = {SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1"}
"""Signals that can be sent: one that kills, one that the task has a handler for."""


def sigmask(sig: int) -> int:
    """Return a signal's bit in a set."""
    return 1 << (sig - 1)


class TaskStruct(SharedObject):
    """struct task_struct of one actor, as far as signals need it.

    Attributes:
        comm: the actor's name.
        siglock: guards `pending` and the way from it to TIF_SIGPENDING.
        flags: thread_info.flags; the task itself and its killers look at them without the lock.
        pending: set of signals sent but not delivered; looked at without the lock, too.
    """

    __slots__ = ("comm", "flags", "pending", "siglock")

    def __init__(self, rt: Runtime, comm: str) -> None:
        super().__init__(rt)
        self.comm = comm
        self.siglock = SpinLock(self, "siglock")
        self.flags = Flags(self, "thread_flags", 0, {TIF_SIGPENDING: "TIF_SIGPENDING"})
        self.pending = Flags(
            self, "pending", 0, {sigmask(sig): name for sig, name in SIGNALS.items()}
        )

    @property
    def name(self) -> str:
        """Name of the task."""
        return f"task({self.comm})"
