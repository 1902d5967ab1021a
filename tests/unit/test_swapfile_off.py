# SPDX-License-Identifier: GPL-2.0-or-later
"""swapoff: every page comes back, whoever holds its slot, or the area stays as it was."""

from __future__ import annotations

from errno import EINTR, EINVAL

from ksmtrio.mm.swapfile_off import sys_swapoff
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, ksm, process, run
from tests.swap_world import swap_out, swap_to_cache, with_device


def test_every_page_comes_back() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "A:1", "B:0")
        assert await sys_swapoff(w.g) == 0
        assert w.contents("A") == [7, 8]
        assert w.contents("B") == [9]
        assert not any(w.g.swap._swap_map[1:])
        assert w.g.swap.nr_swap_pages.value == 0
        assert await sys_swapoff(w.g) == -EINVAL

    with_device(body, process("A", 7, 8), process("B", 9))


def test_sharers_of_a_ksm_page_get_pages_of_their_own() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "A:1", "B:0")
        assert await sys_swapoff(w.g) == 0
        assert w.contents("A") == [7, 7]
        assert w.contents("B") == [7]

    with_device(
        body,
        ksm(["A:0", "A:1", "B:0"]),
        process("A", 7, 7, mergeable=True),
        process("B", 7, mergeable=True),
    )


def test_a_ksm_page_that_is_still_cached_stays_one() -> None:
    async def body(w: KernelWorld) -> None:
        kpage = w.page("A:0")
        await swap_to_cache(w, "A:0")
        assert await sys_swapoff(w.g) == 0
        assert w.page("A:0") is kpage
        assert w.page("B:0") is kpage

    with_device(
        body, ksm(["A:0", "B:0"]), process("A", 7, mergeable=True), process("B", 7, mergeable=True)
    )


def test_without_an_area_there_is_nothing_to_turn_off() -> None:
    async def body(w: KernelWorld) -> None:
        assert await sys_swapoff(w.g) == -EINVAL

    run(body, process("A", 7))


def test_a_signal_leaves_the_area_in_use() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        assert await sys_swapoff(w.g) == -EINTR
        assert w.g.swap._writeok
        assert w.g.swap.nr_swap_pages.value == w.g.swap.total - 1
        await w.rt.cond_resched(AT)

    with_device(body, process("A", 7), faults=["signal"], choices=Choices([], [], [1]))
