# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: sending, seeing and delivering them, and what they interrupt."""

from __future__ import annotations

from errno import EAGAIN, EINTR, EINVAL, ESRCH

import pytest

from ksmtrio.mm.signal import (
    ERESTARTSYS,
    errno_of,
    fatal_signal_pending,
    get_signal_to_deliver,
    send_sig,
    signal_pending,
)
from ksmtrio.mm.task_types import SIGKILL, SIGUSR1
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, actor, ksm, process, run, turns

MERGED = (ksm(["A:0", "A:1", "A:2"]), process("A", 7, 7, 7, mergeable=True))


@pytest.mark.parametrize(("sig", "fatal"), [(SIGKILL, True), (SIGUSR1, False)])
def test_signal_is_pending_until_it_is_delivered(sig: int, *, fatal: bool) -> None:
    async def body(w: KernelWorld) -> None:
        assert not await signal_pending(w.g, AT)
        assert await send_sig(w.g, "task", AT, sig) == 0
        assert await signal_pending(w.g, AT)
        assert await fatal_signal_pending(w.g, AT) == fatal
        assert await get_signal_to_deliver(w.g, AT) == sig
        assert not await signal_pending(w.g, AT)
        assert not await fatal_signal_pending(w.g, AT)
        assert await get_signal_to_deliver(w.g, AT) == 0

    run(body)


def test_signal_that_kills_is_delivered_first_and_the_other_stays_pending() -> None:
    async def body(w: KernelWorld) -> None:
        for sig in (SIGUSR1, SIGKILL, SIGUSR1):
            assert await send_sig(w.g, "task", AT, sig) == 0
        assert await get_signal_to_deliver(w.g, AT) == SIGKILL
        assert await signal_pending(w.g, AT)
        assert await get_signal_to_deliver(w.g, AT) == SIGUSR1
        assert not await signal_pending(w.g, AT)

    run(body)


def test_signal_reaches_only_the_task_it_is_sent_to() -> None:
    async def killer(w: KernelWorld) -> None:
        assert await send_sig(w.g, "victim", AT) == 0
        assert not await signal_pending(w.g, AT)

    async def victim(w: KernelWorld) -> None:
        assert await signal_pending(w.g, AT)

    w = KernelWorld(actors=("killer", "victim"), strategy=turns("killer", "victim"))
    assert w.go(killer, victim).found == []


def test_nobody_to_send_to_and_unknown_signals_are_refused() -> None:
    async def first(w: KernelWorld) -> None:
        pass

    async def second(w: KernelWorld) -> None:
        assert await send_sig(w.g, "nobody", AT) == -ESRCH
        assert await send_sig(w.g, "first", AT) == -ESRCH
        assert await send_sig(w.g, "second", AT, 4711) == -EINVAL
        assert not w.g.tasks

    w = KernelWorld(actors=("first", "second"), strategy=turns("first", "second"))
    assert w.go(first, second).found == []


def test_kernel_threads_ignore_signals() -> None:
    async def body(w: KernelWorld) -> None:
        assert await send_sig(w.g, "ksmd", AT) == 0
        assert not w.g.tasks

    w = KernelWorld(actor("task", "user_task"), actor("ksmd", "ksmd"))
    assert w.go(body).found == []


def test_fault_choice_interrupts_once_and_leaves_nothing_behind() -> None:
    async def body(w: KernelWorld) -> None:
        assert await signal_pending(w.g, AT)
        assert not await signal_pending(w.g, AT)
        assert await get_signal_to_deliver(w.g, AT) == 0

    run(body, faults=["signal"], choices=Choices(faults=[1, 0]))


def test_interrupted_calls_answer_eintr() -> None:
    assert errno_of(-ERESTARTSYS) == EINTR
    assert errno_of(-EAGAIN) == EAGAIN


def test_signal_stops_unmerging_between_two_pages_and_keeps_the_advice() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.madvise("A:0", 3, mergeable=False) == -EINTR
        assert w.shot("A").ksm == "pKK"  # type: ignore[union-attr]
        assert await w.madvise("A:0", 3, mergeable=False) == 0
        assert w.shot("A").ksm == "ppp"  # type: ignore[union-attr]

    run(body, *MERGED, faults=["signal"], choices=Choices(faults=[0, 1, 0, 0, 0]))


def test_killer_ends_an_offline_that_cannot_get_on() -> None:
    async def driver(w: KernelWorld) -> None:
        assert await w.offline(1) == -EINTR
        assert await get_signal_to_deliver(w.g, AT) == SIGKILL
        assert w.machine.memory_blocks[1].state.value == "online"
        assert w.ksm.ksm_thread_mutex.free

    async def killer(w: KernelWorld) -> None:
        assert w.ksm.ksm_thread_mutex.held_by(w.rt.actors[0])
        assert await send_sig(w.g, "driver", AT) == 0

    schedule = turns("driver@offline_pages.9", "killer", "driver")
    w = KernelWorld(process("A", 7, node=1), actors=("driver", "killer"), strategy=schedule)
    assert w.go(driver, killer).found == []
