# SPDX-License-Identifier: GPL-2.0-or-later
"""References kept in pipes: how they are taken, what they keep from happening, how they go."""

from __future__ import annotations

from errno import EFAULT, EINTR, EIO, ESRCH

from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_STRICT
from ksmtrio.mm.page_flags import PG_REFERENCED
from ksmtrio.mm.signal import send_sig
from ksmtrio.uapi import pipe
from tests.kernel_world import AT, KernelWorld, answer, machine, process, run, turns


async def pin(w: KernelWorld, ref: str) -> int:
    return await answer(pipe.vmsplice(w.g, w._mm_of(ref), w.address(ref)))


def test_a_pinned_page_cannot_move_until_it_is_unpinned() -> None:
    async def body(w: KernelWorld) -> None:
        assert await pin(w, "A:0") == 0
        flags = MPOL_MF_MOVE | MPOL_MF_STRICT
        assert await w.mbind("A:0", 1, flags=flags) == -EIO
        assert w.page("A:0").nid == 0
        assert await pipe.drain(w.g, w.mm("A"), w.address("A:0")) == 1
        assert await w.mbind("A:0", 1, flags=flags) == 0
        assert w.page("A:0").nid == 1

    run(body, process("A", 1))


def test_a_pinned_page_outlives_its_mapping() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await pin(w, "A:0")
        await pin(w, "A:0")
        await w.munmap("A:0", 1)
        assert page.count.value == 2
        assert await pin(w, "A:0") == -EFAULT
        assert await pipe.drain(w.g, w.mm("A"), w.address("A:0")) == 2
        assert page.count.value == 0

    run(body, process("A", 1))


def test_what_is_still_pinned_at_the_end_is_no_leak() -> None:
    async def body(w: KernelWorld) -> None:
        await pin(w, "A:0")

    run(body, process("A", 1))


def test_a_page_that_is_not_there_is_faulted_in() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.pte("A:0").swap
        assert await pin(w, "A:0") == 0
        assert w.page("A:0").count.value == 3
        assert w.page("A:0").flags.has(PG_REFERENCED), "marked as used"
        assert await pin(w, "B:0") == -EFAULT, "the zero page"

    run(body, machine(swap_slots=2), process("A", 1, swap="cache"), process("B", "-"))


def test_a_task_that_is_being_killed_faults_nothing_in() -> None:
    async def body(w: KernelWorld) -> None:
        assert await send_sig(w.g, "task", AT) == 0
        assert await pin(w, "A:0") == -EINTR
        assert w.pte("A:0").swap

    run(body, machine(swap_slots=2), process("A", 1, swap="cache"))


def test_a_task_that_exited_pins_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        assert await pin(w, "A:0") == -ESRCH

    run(body, process("A", 1))


def test_two_threads_that_drain_at_once_drop_each_page_once() -> None:
    async def pinner(w: KernelWorld) -> None:
        await pin(w, "A:0")
        await pin(w, "A:0")
        w.log.append(await pipe.drain(w.g, w.mm("A"), w.address("A:0")))

    async def other(w: KernelWorld) -> None:
        w.log.append(await pipe.drain(w.g, w.mm("A"), w.address("A:0")))

    schedule = turns("pinner@pipe_buf_release.1/put_page", "other", "pinner")
    world = KernelWorld(process("A", 1), actors=("pinner", "other"), strategy=schedule)
    assert world.go(pinner, other).found == []
    assert sorted(world.log) == [0, 2]
