# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: sent by one task, seen by another where it looks, delivered on its way to user space.

Kernel: kernel/signal.c and include/linux/sched.h, v2.6.33. Signals differ in one thing only:
whether they kill. SIGKILL does; every other one has a handler, installed without SA_RESTART, which
does nothing. So a system call that a handled signal interrupted (-ERESTARTSYS inside the kernel)
answers -EINTR and is not made again; one that a fatal signal interrupted never answers, for the
task exits before it is back in user space.

Differs: there is no sleep that a signal can end. Tasks sleep for mutexes, semaphores, page locks
and allocations, all of them uninterruptible; the interruptible ones are kernel threads', and those
ignore all signals. So sending wakes nobody. Tests: `tests/unit/test_signal.py`.
"""

from __future__ import annotations

from errno import EINTR, EINVAL, ESRCH
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.task_types import SIGKILL, SIGNALS, TIF_SIGPENDING, TaskStruct, sigmask
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.tap import READ

ERESTARTSYS: Final = 512
"""Never seen by user space: restart after the handler, or -EINTR."""


def task_of(g: Globals, actor: ActorState) -> TaskStruct:
    """Return an actor's task_struct; it is made at the first look."""
    task = g.tasks.get(actor.name)
    if task is None:
        task = g.tasks[actor.name] = TaskStruct(g.rt, actor.name)
    return task


def tell_life(g: Globals, actor_name: str, kind: int) -> None:
    """A task begins or ends (WRITE), or somebody asks whether it is there (READ)."""
    if g.rt.recorder is not None:
        g.rt.recorder.aside(f"task {actor_name}", kind)


async def signal_pending(g: Globals, at: str) -> bool:
    """signal_pending(current): a lockless look at TIF_SIGPENDING.

    Where the scenario allows the fault ``signal``, a handled signal may have come just before. It
    is delivered on the way out, to which every caller goes at once, and leaves nothing behind.
    """
    pending = await task_of(g, g.rt.me).flags.test(at, TIF_SIGPENDING)
    return pending or g.rt.fault("signal", at)


async def fatal_signal_pending(g: Globals, at: str) -> bool:
    """fatal_signal_pending(current): is SIGKILL on its way? Two lockless looks, `at` and `at#2`."""
    task = task_of(g, g.rt.me)
    if not await task.flags.test(at, TIF_SIGPENDING):
        return False
    return await task.pending.test(f"{at}#2", sigmask(SIGKILL))


async def send_sig(g: Globals, actor_name: str, at: str, sig: int = SIGKILL) -> int:
    """Send a signal to a task; kernel threads ignore it.

    Kernel: kernel/signal.c, send_signal() and complete_signal(), v2.6.33.

    Points: `at`, `at#2`.

    Steps:
        1. LOCK siglock of the task; add the signal to the pending ones.
        2. Set TIF_SIGPENDING; UNLOCK.

    Returns:
        0, -ESRCH when there is no such task any more, or -EINVAL for an unknown signal.
    """
    actor = next((a for a in g.rt.actors if a.name == actor_name), None)
    if sig not in SIGNALS:
        return -EINVAL
    if actor is not None and actor.background:
        return 0
    tell_life(g, actor_name, READ)
    if actor is None or actor.state in (State.UNBORN, State.FINISHED):
        return -ESRCH
    task = task_of(g, actor)
    await task.siglock.lock(at)
    task.pending.change_in_step(at, set_=sigmask(sig))
    await task.flags.set(f"{at}#2", TIF_SIGPENDING)
    task.siglock.unlock(f"{at}#2")
    return 0


async def get_signal_to_deliver(g: Globals, at: str) -> int:
    """Take the next signal, SIGKILL first, as a task does on its way back to user space.

    Kernel: kernel/signal.c, get_signal_to_deliver() and recalc_sigpending(), v2.6.33. The look at
    TIF_SIGPENDING belongs to the task's last step in the kernel: what comes later interrupts user
    code, which does nothing that anybody could see before its next system call or access.

    Points: `at`, `at#2`, only if something is pending.

    Steps:
        1. TIF_SIGPENDING clear: none. LOCK siglock; take the first pending signal.
        2. Nothing left: clear TIF_SIGPENDING. UNLOCK.

    Returns:
        The signal, 0 for none. After SIGKILL the task must exit.
    """
    task = task_of(g, g.rt.me)
    if not task.flags.read_in_step(at) & TIF_SIGPENDING:
        return 0
    await task.siglock.lock(at)
    pending = task.pending.read_in_step(at)
    sig = next((s for s in SIGNALS if pending & sigmask(s)), 0)
    if sig:
        task.pending.change_in_step(at, clear=sigmask(sig))
    if not task.pending.read_in_step(at):
        await task.flags.clear(f"{at}#2", TIF_SIGPENDING)
    task.siglock.unlock(f"{at}#2")
    return sig


def errno_of(ret: int) -> int:
    """Return the errno that user space sees for a negative result: -ERESTARTSYS shows as EINTR."""
    return EINTR if ret == -ERESTARTSYS else -ret
