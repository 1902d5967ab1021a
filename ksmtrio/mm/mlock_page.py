# SPDX-License-Identifier: GPL-2.0-or-later
"""Marking a page as mlocked, or no longer so, as faults, mlock(2) and the reverse map do.

Kernel: mm/mlock.c, v2.6.33. Apart from mlock.py because the reverse map needs it and is needed
there. Tests: `tests/unit/test_mlock_page.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug, VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.page_flags import PG_MLOCKED
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page


async def mlock_vma_page(g: Globals, page: Page, at: str) -> None:
    """mlock_vma_page(): set PG_mlocked, and move the page to the unevictable list if it is on one.

    Context: page locked. Points: ``/mlock_vma_page``. A page that somebody else has isolated gets
    to the unevictable list when that one puts it back.
    """
    at = f"{at}/mlock_vma_page"
    if not page.page_lock.held_by(g.rt.me):
        raise KernelBug(at, f"BUG_ON(!PageLocked) in mlock_vma_page, pfn {page.pfn}")
    if await page.flags.test_and_set(at, PG_MLOCKED):
        return
    if await isolate_lru_page(g, page) == 0:
        await putback_lru_page(g, page)


async def clear_page_mlock(g: Globals, page: Page, at: str) -> None:
    """clear_page_mlock(): a page leaves a VM_LOCKED vma; other mappers do not keep it mlocked.

    Kernel: mm/mlock.c, __clear_page_mlock(), v2.6.33. Context: page locked. Points:
    ``/clear_page_mlock`` (PG_mlocked), ``#2`` (mapping). Should another VM_LOCKED vma map it,
    reclaim finds that out.
    """
    at = f"{at}/clear_page_mlock"
    if not page.page_lock.held_by(g.rt.me):
        raise VmBug(at, f"VM_BUG_ON(!PageLocked) in clear_page_mlock, pfn {page.pfn}")
    if not await page.flags.test_and_clear(at, PG_MLOCKED):
        return
    if await page.mapping.read(f"{at}#2") is None:
        return
    if await isolate_lru_page(g, page) == 0:
        await putback_lru_page(g, page)
