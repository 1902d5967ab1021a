# SPDX-License-Identifier: GPL-2.0-or-later
"""Making the pages of a range mlocked, or no longer so. Kernel: mm/mlock.c, v2.6.33.

Specification ML.3-5. Apart from mlock.py because munmap and exit need it and it needs no vmas but
the one it is given. Tests: `tests/unit/test_mlock.py`.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.errors import KernelBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_rmap import try_to_munlock
from ksmtrio.mm.memory import follow_page, get_user_page
from ksmtrio.mm.mlock_page import mlock_vma_page
from ksmtrio.mm.mm_types import (
    VM_DONTEXPAND,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_RESERVED,
    VM_WRITE,
    Page,
    Vma,
)
from ksmtrio.mm.page_flags import PG_MLOCKED
from ksmtrio.mm.swap import lru_add_drain, put_page
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, Vaddr

BATCH: Final = 16
"""Pages that are faulted in before the first of them is locked."""

ML = Points(
    __name__,
    "__mlock_vma_pages_range",
    "ML",
    "3 4 4/pagevec_lru_add 4/pagevec_lru_add#2 4/release_pages 5 5#2 5#3 5/mlock_vma_page 5#4 "
    "5/put_page",
)
MU = Points(
    __name__,
    "munlock_vma_pages_range",
    "ML",
    "6 6/pagevec_lru_add 6/pagevec_lru_add#2 6/release_pages 7 7#2 7/munlock_vma_page 7#3 "
    "7/put_page 7#4",
)


async def munlock_vma_page(g: Globals, page: Page, at: str) -> None:
    """munlock_vma_page(): a VM_LOCKED vma no longer maps the page; does another one?

    Kernel: mm/mlock.c, v2.6.33; specification ML. Context: page locked. Points:
    ``/munlock_vma_page``. A page that somebody else has isolated stays unevictable until reclaim
    finds it there.
    """
    at = f"{at}/munlock_vma_page"
    if not page.page_lock.held_by(g.rt.me):
        raise KernelBug(at, f"BUG_ON(!PageLocked) in munlock_vma_page, pfn {page.pfn}")
    if await page.flags.test_and_clear(at, PG_MLOCKED) and await isolate_lru_page(g, page) == 0:
        await try_to_munlock(g, page)
        await putback_lru_page(g, page)


async def mlock_pages(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> int:
    """__mlock_vma_pages_range(): fault a range of a VM_LOCKED vma in and mlock its pages.

    Kernel: mm/mlock.c, v2.6.33; specification ML.3-5. Context: mmap_sem held; sleeps.

    Returns:
        0, or the error of the page that could not be had; the pages before it are mlocked.
    """
    address, write = start, bool(vma.vm_flags & VM_WRITE)
    while address < end:
        await g.rt.cond_resched(ML["3"])
        err, pages, stop = 0, list[Page | None](), min(end, address + BATCH * PAGE_SIZE)
        while not err and address < stop:
            err, page = await get_user_page(g, vma, address, write=write)
            if not err:
                pages.append(page)
                address += PAGE_SIZE
        if err and not pages:
            return err
        await lru_add_drain(g, ML["4"])
        for page in pages:
            if page is not None:
                await _mlock_page(g, page)
    return 0


async def _mlock_page(g: Globals, page: Page) -> None:
    """ML.5: the reference keeps the page from being migrated; its mapping may go all the same."""
    if await page.mapping.read(ML["5"]) is not None:
        await page.page_lock.lock(ML["5#2"])
        if await page.mapping.read(ML["5#3"]) is not None:
            await mlock_vma_page(g, page, ML["5"])
        await page.page_lock.unlock(ML["5#4"])
    await put_page(g, page, ML["5/put_page"])


async def mlock_vma_pages_range(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> None:
    """mlock_vma_pages_range(): for mmap and mremap, which do not tell of errors.

    Kernel: mm/mlock.c, v2.6.33. A vma that cannot be mlocked loses VM_LOCKED.
    """
    if vma.vm_flags & (VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_RESERVED):
        vma.vm_flags &= ~VM_LOCKED
        return
    await mlock_pages(g, vma, start, end)


async def munlock_vma_pages_range(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> None:
    """munlock_vma_pages_range(): take VM_LOCKED off a vma and PG_mlocked off its pages.

    Kernel: mm/mlock.c, v2.6.33; specification ML.6-7. Context: mmap_sem held for write, or none
    at exit; sleeps. A page on the move is passed over and keeps PG_mlocked; reclaim sets that right
    if it comes by.
    """
    await lru_add_drain(g, MU["6"])
    vma.vm_flags &= ~VM_LOCKED
    for address in range(start, end, PAGE_SIZE):
        page = await follow_page(g, vma, address)
        if page is not None:
            await page.page_lock.lock(MU["7"])
            if await page.mapping.read(MU["7#2"]) is not None:
                await munlock_vma_page(g, page, MU["7"])
            await page.page_lock.unlock(MU["7#3"])
            await put_page(g, page, MU["7/put_page"])
        await g.rt.cond_resched(MU["7#4"])
