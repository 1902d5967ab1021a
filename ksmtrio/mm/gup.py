# SPDX-License-Identifier: GPL-2.0-or-later
"""References on user pages that outlive mmap_sem. Kernel: arch/x86/mm/gup.c, v2.6.33.

Tests: `tests/unit/test_gup.py`.
"""

from __future__ import annotations

from errno import EFAULT

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import get_user_page, vm_normal_page
from ksmtrio.mm.mm_types import MmStruct, Page
from ksmtrio.mm.mmap import vma_at
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

FAST = Points(__name__, "get_user_pages_fast", "", "1 2 3")


async def get_user_page_fast(g: Globals, mm: MmStruct, address: Vaddr) -> int | Page:
    """get_user_pages_fast() of one page, to read it.

    Kernel: arch/x86/mm/gup.c, get_user_pages_fast() and gup_pte_range(), v2.6.33; in
    mm/memory.c, __get_user_pages(). Context: no lock held; sleeps.

    Differs: the zero page gives an error, since it has no struct page here.

    Steps:
        1. With interrupts off, so that a TLB flush by another CPU waits: read the pte; if it is
           present take a reference and return the page. No lock is held. Reading and taking are
           one step: whoever clears the pte in between still holds its reference until the flush.
        2. LOCK mmap_sem for read; get_user_pages().
        3. UNLOCK.

    Returns:
        The page, referenced; or -EFAULT, -ENOMEM, or -ERESTARTSYS for a fatal signal.
    """
    cell = mm.pte(address)
    await g.rt.point(FAST["1"], "read", cell)
    pte = cell.read_in_step(FAST["1"])
    page = vm_normal_page(g, pte) if pte.present else None
    if page is not None:
        page.count.write_in_step(FAST["1"], page.count.read_in_step(FAST["1"]) + 1)
        return page
    await mm.mmap_sem.down_read(FAST["2"])
    vma = vma_at(mm, address)
    err = -EFAULT
    if vma is not None:
        err, page = await get_user_page(g, vma, address, write=False)
    await mm.mmap_sem.up_read(FAST["3"])
    return page or err or -EFAULT
