# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration entries: what a fault finds in the pte of a page on the move.

Kernel: mm/migrate.c, migration_entry_wait(), and include/linux/swapops.h, v2.6.33; specification
EW.
Apart from migrate.py because memory.py needs it and is needed there.
Tests: `tests/unit/test_migrate.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import MmStruct, Page, Pte
from ksmtrio.mm.page_flags import PG_LOCKED
from ksmtrio.mm.swap import put_page
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

EW = Points(__name__, "migration_entry_wait", "EW", "1 2 3 4 6 7/put_page")


async def migration_entry_to_page(g: Globals, entry: Pte, at: str) -> Page:
    """Decode a migration entry; any page it names must be locked, else BUG."""
    page = g.pfn_to_page(entry.pfn)
    if not await page.flags.test(at, PG_LOCKED):
        raise KernelBug(at, f"BUG_ON(!PageLocked) in migration_entry_to_page, pfn {page.pfn}")
    return page


async def migration_entry_wait(g: Globals, mm: MmStruct, address: Vaddr) -> None:
    """EW: wait until the page behind a migration entry is unlocked.

    Context: mmap_sem held; sleeps. The reference taken here can itself defeat the migration.
    """
    ptl = mm.ptl(address)
    await ptl.lock(EW["1"])
    entry = await mm.pte(address).read(EW["2"])
    if not entry.migration:
        ptl.unlock(EW["2"])
        return
    page = await migration_entry_to_page(g, entry, EW["3"])
    if not await page.count.inc_not_zero(EW["4"]):
        ptl.unlock(EW["4"])
        return
    ptl.unlock(EW["4"])
    await page.page_lock.wait_unlocked(EW["6"])
    await put_page(g, page, EW["7/put_page"])
