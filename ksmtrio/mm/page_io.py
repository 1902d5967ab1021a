# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap I/O: submission, and completion by an actor of its own.

Kernel: mm/page_io.c, v2.6.33. A page under writeback is not locked, one being read in is: there the
device unlocks it. Tests: `tests/unit/test_page_io.py`.
"""

from __future__ import annotations

from ksmtrio.errors import VmBug
from ksmtrio.mm.filemap import end_page_writeback
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.page_flags import PG_UPTODATE, PG_WRITEBACK
from ksmtrio.mm.swap_types import Bio
from ksmtrio.mm.swapfile_reuse import try_to_free_swap
from ksmtrio.sched.points import Points

WRITE = Points(__name__, "swap_writepage", "", "7.1 7.2 7.3 7.4 7.5 7.5/wake_up")
READ = Points(__name__, "swap_readpage", "", "3 3.2 3.2/wake_up")
IO = Points(
    __name__,
    "end_swap_bio",
    "",
    "wait write.1 write.1#2 write.2 write.2/wake_up_page read.1 read.1#2 read.2 read.3",
)


async def _submit_bio(g: Globals, bio: Bio, at: str) -> None:
    """submit_bio(): put the page into the device's queue, and tell the device."""
    await g.rt.point(at, "submit_bio", bio.page.private)
    g.swap.enqueue(bio)
    await g.swap.bio_wait.wake_up(f"{at}/wake_up")


async def swap_writepage(g: Globals, page: Page) -> None:
    """swap_writepage(): write a locked page to its slot; unlocks it.

    Kernel: mm/page_io.c, v2.6.33; specification SL.7. When no pte holds the slot any more, the page
    just leaves the swap cache.
    """
    if await try_to_free_swap(g, page):
        await page.page_lock.unlock(WRITE["7.1"])
        return
    entry = await page.private.read(WRITE["7.2"])
    await page.flags.set(WRITE["7.3"], PG_WRITEBACK)
    await page.page_lock.unlock(WRITE["7.4"])
    await _submit_bio(g, Bio(page, entry, write=True), WRITE["7.5"])


async def swap_readpage(g: Globals, page: Page) -> None:
    """swap_readpage(): start reading a locked page in; the device unlocks it when it is done.

    Kernel: mm/page_io.c, v2.6.33; specification SW.3.
    """
    if not page.page_lock.held_by(g.rt.me):
        raise VmBug(READ["3"], f"VM_BUG_ON(!PageLocked) in swap_readpage, pfn {page.pfn}")
    entry = await page.private.read(READ["3"])
    page.page_lock.hand_over(g.swap.device)
    await _submit_bio(g, Bio(page, entry, write=False), READ["3.2"])


async def swap_io_thread(g: Globals) -> None:
    """The device: carries out what is queued, one page after the other, for ever."""
    swap = g.swap
    while True:
        await swap.bio_wait.wait_event(IO["wait"], lambda: bool(swap.bios), idle=True)
        bio = swap.dequeue()
        if bio.write:
            await _end_swap_bio_write(g, bio)
        else:
            await _end_swap_bio_read(g, bio)


async def _end_swap_bio_write(g: Globals, bio: Bio) -> None:
    """Write both halves of the page, then end_swap_bio_write()."""
    for half, label in ((0, IO["write.1"]), (1, IO["write.1#2"])):
        token = await bio.page.content[half].read(label)
        g.swap.disk[bio.entry][half].write_in_step(label, token)
    await end_page_writeback(bio.page, IO["write.2"])


async def _end_swap_bio_read(g: Globals, bio: Bio) -> None:
    """Read both halves of the page, then end_swap_bio_read(): uptodate, unlock."""
    page = bio.page
    for half, label in ((0, IO["read.1"]), (1, IO["read.1#2"])):
        await page.content[half].write(label, g.swap.disk[bio.entry][half].read_in_step(label))
    await page.flags.set(IO["read.2"], PG_UPTODATE)
    page.page_lock.hand_over(g.rt.me)
    await page.page_lock.unlock(IO["read.3"])
