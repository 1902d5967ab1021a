# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap I/O: pages are written unlocked and read locked; both end in the device's own time."""

from __future__ import annotations

from ksmtrio.mm.filemap import wait_on_page_writeback
from ksmtrio.mm.page_flags import PG_WRITEBACK
from ksmtrio.mm.page_io import swap_writepage
from ksmtrio.mm.swap_state import add_to_swap
from ksmtrio.mm.swapfile import swap_duplicate, swap_free
from tests.kernel_world import AT, KernelWorld, process
from tests.swap_world import swap_out, with_device


def test_a_page_is_unlocked_while_it_is_written() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        assert await add_to_swap(w.g, page)
        await swap_duplicate(w.g, 1, AT)
        await swap_writepage(w.g, page)
        assert not page.page_lock.locked
        assert page.flags.has(PG_WRITEBACK)
        await wait_on_page_writeback(page, AT)
        assert [half.value for half in w.g.swap.disk[1]] == [7, 7]
        await swap_free(w.g, 1, AT)
        await page.page_lock.lock(AT)
        await swap_writepage(w.g, page)  # nobody holds the slot: it is given up instead
        assert w.g.swap._swap_map[1] == 0
        assert not page.page_lock.locked

    with_device(body, process("A", 7))


def test_a_fault_waits_for_the_device_to_unlock_the_page() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        assert await w.store("A:0", 8) == 0
        assert await w.load("A:0") == (0, 8)

    with_device(body, process("A", 7))
