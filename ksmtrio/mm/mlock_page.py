# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock_vma_page(): mark a page as mlocked, as faults, mlock(2) and the reverse map do.

Kernel: mm/mlock.c, v2.6.33. Apart from mlock.py because the reverse map needs it and is needed
there. Tests: `tests/unit/test_mlock_page.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug
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
