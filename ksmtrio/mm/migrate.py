# SPDX-License-Identifier: GPL-2.0-or-later
"""Page migration. Kernel: mm/migrate.c, v2.6.33; specification MP UM MN MM MC RM MPg.

move_pages(2) is in migrate_syscalls.py. Tests: `tests/unit/test_migrate.py`, `tests/races/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import EAGAIN, EBUSY, ENOMEM, ENOSYS
from typing import Final, NamedTuple

from ksmtrio.errors import KernelBug
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.mm.filemap import wait_on_page_writeback
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_rmap import ksm_migrate_page, rmap_walk, try_to_unmap
from ksmtrio.mm.migration_entry import migration_entry_to_page
from ksmtrio.mm.mm_types import Page, Pte, Vma, page_anon, page_ksm, page_mapped
from ksmtrio.mm.page_flags import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_MLOCKED,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_UPTODATE,
    PG_WRITEBACK,
)
from ksmtrio.mm.rmap import (
    SWAP_AGAIN,
    TTU_IGNORE_ACCESS,
    TTU_IGNORE_MLOCK,
    TTU_MIGRATION,
    page_add_anon_rmap,
)
from ksmtrio.mm.swap import get_page, lru_add_drain_all
from ksmtrio.mm.vmscan import putback_lru_page, putback_lru_pages
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

MP = Points(
    __name__,
    "migrate_prep",
    "MP",
    "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages",
)
UM = Points(
    __name__,
    "unmap_and_move",
    "UM",
    "2 3 4 6 7 8 8/wait_on_page_writeback 8/wait_on_page_writeback#2 9 9#2 9#3 9#4 10 13 17",
)
MN = Points(__name__, "move_to_new_page", "MN", "1 2 3 3#2 4 6 7")
MM = Points(__name__, "migrate_page_move_mapping", "MM", "1 2 4 4a 4a#2 5 6 6#2 6#3 7 8 9")
MC = Points(__name__, "migrate_page_copy", "MC", "1 1#2 2 2#2 2#3 3 4 6 6#2 7")
RM = Points(__name__, "remove_migration_pte", "RM", "1 2 3 3#2 4a 4c 4d 4d#2 4d#3")
MPG = Points(__name__, "migrate_pages", "MPg", "2")

PASSES_MAX: Final = 10
PASSES_WITHOUT_FORCE: Final = 3


class Target(NamedTuple):
    """What get_new_page() hands back.

    Attributes:
        page: replacement, or None when memory is short.
        set_status: called with the result of the attempt: an errno or the new page's node.
    """

    page: Page | None
    set_status: Callable[[int], None] | None = None


NewPage = Callable[[Page], Awaitable[Target]]
"""new_page_t: allocates a replacement for a page; may sleep."""


async def migrate_prep(g: Globals) -> int:
    """MP: get all pages out of the pagevecs, so that they can be isolated; sleeps.

    Kernel: mm/migrate.c, migrate_prep(), v2.6.33.

    Steps of MP:
        1. lru_add_drain_all: have every CPU empty its pagevecs, and sleep until they have.
    """
    if not g.kernel.CONFIG_MIGRATION:
        return -ENOSYS
    await lru_add_drain_all(g, MP["1"])
    return 0


async def migrate_pages(
    g: Globals, pages: list[Page], get_new_page: NewPage, *, offlining: bool
) -> int:
    """MPg: move isolated pages; those that cannot be moved go back to the LRU.

    Kernel: mm/migrate.c, migrate_pages(), v2.6.33; specification MPg.1-7. Up to 10 passes; the
    first three only try page locks.

    Args:
        pages: each with an isolation reference; empty on return.
        get_new_page: allocator of replacements.
        offlining: KSM pages may be moved, because the caller has locked ksmd out.

    Returns:
        Number of pages not moved, -ENOMEM, or -ENOSYS without CONFIG_MIGRATION.
    """
    if not g.kernel.CONFIG_MIGRATION:
        # The stub knows of no LRU lists: what the caller isolated stays so.
        return -ENOSYS
    failed, retry, rc = 0, 1, 0
    left = list(pages)
    for number in range(PASSES_MAX):
        if not retry:
            break
        retry = 0
        for page in list(left):
            await g.rt.cond_resched(MPG["2"])
            force = number >= PASSES_WITHOUT_FORCE
            rc = await unmap_and_move(g, page, left, get_new_page, force=force, offlining=offlining)
            if rc == -ENOMEM:
                break
            if rc == -EAGAIN:
                retry += 1
            elif rc:
                failed += 1
        if rc == -ENOMEM:
            break
    pages.clear()
    await putback_lru_pages(g, left)
    return rc if rc == -ENOMEM else failed + retry


async def unmap_and_move(
    g: Globals,
    page: Page,
    listed: list[Page],
    get_new_page: NewPage,
    *,
    force: bool,
    offlining: bool,
) -> int:
    """UM: one attempt to move one page.

    Kernel: mm/migrate.c, unmap_and_move(), v2.6.33; specification UM.1-21. Context: the caller owns
    an isolation reference.

    Args:
        listed: the caller's list; the page is taken off unless the attempt may be repeated.
        force: wait for the page lock.
        offlining: see `migrate_pages`.

    Returns:
        0, -EAGAIN (try again), or another negative errno.
    """
    target = await get_new_page(page)
    new = target.page
    if new is None:
        return -ENOMEM
    rc = 0
    if await page.count.read(UM["2"]) != 1:
        rc = await _move_if_locked(g, new, page, force=force, offlining=offlining)
        if rc != -EAGAIN:
            listed.remove(page)
            await putback_lru_page(g, page)
    await putback_lru_page(g, new)
    if target.set_status is not None:
        target.set_status(rc or new.nid)
    return rc


async def _move_if_locked(
    g: Globals, new: Page, page: Page, *, force: bool, offlining: bool
) -> int:
    """UM.3-17: the part under the page lock."""
    if not await page.page_lock.trylock(UM["3"]):
        if not force:
            return -EAGAIN
        await page.page_lock.lock(UM["4"])
    rc = -EAGAIN
    # Only here, with the page lock held, is it certain that the page will not go KSM beneath us
    # (try_to_merge_one_page upgrades it under the same lock).
    refused = g.kernel.recheck_ksm_under_page_lock and not offlining
    if refused and await page_ksm(page, UM["6"]):
        rc = -EBUSY
    else:
        g.rt.might_sleep(UM["7"])
        await g.rt.point(UM["7"], "mem_cgroup_prepare_migration", None)
        if not await page.flags.test(UM["8"], PG_WRITEBACK):
            rc = await _unmap_then_move(g, new, page)
        elif force:
            await wait_on_page_writeback(page, UM["8"])
            rc = await _unmap_then_move(g, new, page)
    await page.page_lock.unlock(UM["17"])
    return rc


async def _unmap_then_move(g: Globals, new: Page, page: Page) -> int:
    """UM.9-15: unmap, move, and put the entries back if that failed."""
    rc = -EAGAIN
    in_rcu = await page_anon(page, UM["9"])
    if in_rcu:
        # Keeps the anon_vma of a page that is unmapped meanwhile an anon_vma.
        rcu_read_lock(g.rt)
    remap = True
    if in_rcu and g.kernel.migrate_skips_unmapped_anon:
        # An unmapped page's anon_vma may have been freed before the RCU section began.
        unmapped = not await page_ksm(page, UM["9#2"]) and not await page_mapped(page, UM["9#3"])
        if unmapped and not await page.flags.test(UM["9#4"], PG_SWAPCACHE):
            rcu_read_unlock(g.rt)
            return rc
        remap = not unmapped
    if await page.mapping.read(UM["10"]) is not None:
        await try_to_unmap(g, page, TTU_MIGRATION | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS)
    if not await page_mapped(page, UM["13"]):
        rc = await move_to_new_page(g, new, page, remap=remap)
    if rc and remap:
        await remove_migration_ptes(g, page, page)
    if in_rcu:
        rcu_read_unlock(g.rt)
    return rc


async def move_to_new_page(g: Globals, new: Page, page: Page, *, remap: bool = True) -> int:
    """MN: give the new page the old one's identity and content.

    Kernel: mm/migrate.c, move_to_new_page(), v2.6.33; specification MN.1-8. Old page locked and
    unmapped. Returns 0 or -EAGAIN.

    Args:
        remap: there may be migration entries to be replaced.
    """
    if not await new.page_lock.trylock(MN["1"]):
        raise KernelBug(MN["1"], "BUG in move_to_new_page: new page is locked")
    new.index.write_in_step(MN["2"], await page.index.read(MN["2"]))
    word = await page.mapping.read(MN["3"])
    await new.mapping.write(MN["3#2"], word)
    if await page.flags.test(MN["4"], PG_SWAPBACKED):
        new.flags.change_in_step(MN["4"], set_=PG_SWAPBACKED)
    rc = await migrate_page_move_mapping(g, new, page)
    if rc == 0:
        await migrate_page_copy(g, new, page)
        if remap:
            await remove_migration_ptes(g, page, new)
    else:
        await new.mapping.write(MN["6"], None)
    await new.page_lock.unlock(MN["7"])
    return rc


async def migrate_page_move_mapping(g: Globals, new: Page, page: Page) -> int:
    """MM: may the page be switched? In the swap cache: freeze its count and switch the slot.

    Kernel: mm/migrate.c, migrate_page_move_mapping(), v2.6.33; specification MM.1-9. Outside the
    swap cache this is one look at the count: nothing keeps a lockless observer (get_ksm_page) from
    taking a reference right after. Inside, such an observer sees a count of 0 for a while.

    Returns:
        0 or -EAGAIN.
    """
    if not await page.flags.test(MM["1"], PG_SWAPCACHE):
        return 0 if await page.count.read(MM["2"]) == 1 else -EAGAIN
    space = g.swapper_space
    entry = page.private.read_in_step(MM["1"])
    slot = space.slot(entry)
    await space.tree_lock.lock(MM["4"])
    ours = await page.count.read(MM["4a"]) == 2 and await slot.read(MM["4a#2"]) is page
    if not ours or not await page.count.cmpxchg(MM["5"], 2, 0):
        space.tree_lock.unlock(MM["5"])
        return -EAGAIN
    await get_page(new, MM["6"])
    await new.flags.set(MM["6#2"], PG_SWAPCACHE)
    await new.private.write(MM["6#3"], entry)
    await slot.write(MM["7"], new)
    await page.count.write(MM["8"], 2)
    await page.count.dec(MM["9"])
    space.tree_lock.unlock(MM["9"])
    return 0


async def migrate_page_copy(g: Globals, new: Page, page: Page) -> None:
    """MC: copy content and flags, move the KSM node, disown the old page.

    Kernel: mm/migrate.c, migrate_page_copy(), v2.6.33; specification MC.1-7.
    """
    for half, label in ((0, MC["1"]), (1, MC["1#2"])):
        new.content[half].write_in_step(label, await page.content[half].read(label))
    kept = await page.flags.read(MC["2"]) & (PG_REFERENCED | PG_UPTODATE)
    new.flags.change_in_step(MC["2"], set_=kept)
    if await page.flags.test_and_clear(MC["2#2"], PG_ACTIVE):
        new.flags.change_in_step(MC["2#2"], set_=PG_ACTIVE)
    elif await page.flags.test_and_clear(MC["2#3"], PG_UNEVICTABLE):
        new.flags.change_in_step(MC["2#3"], set_=PG_UNEVICTABLE)
    if await page.flags.test_and_clear(MC["3"], PG_DIRTY):
        new.flags.change_in_step(MC["3"], set_=PG_DIRTY)
    if await page.flags.test_and_clear(MC["4"], PG_MLOCKED):
        new.flags.change_in_step(MC["4"], set_=PG_MLOCKED)
    await ksm_migrate_page(g, new, page)
    await page.flags.clear(MC["6"], PG_SWAPCACHE)
    await page.private.write(MC["6#2"], 0)
    await page.mapping.write(MC["7"], None)


async def remove_migration_ptes(g: Globals, old: Page, new: Page) -> None:
    """Point every migration entry of `old` at `new` (which may be `old` itself); `new` locked."""

    async def action(page: Page, vma: Vma, address: Vaddr) -> int:
        return await remove_migration_pte(g, page, vma, address, old)

    await rmap_walk(g, new, action)


async def remove_migration_pte(g: Globals, new: Page, vma: Vma, address: Vaddr, old: Page) -> int:
    """RM: turn one migration entry back into a present pte.

    Kernel: mm/migrate.c, remove_migration_pte(), v2.6.33; specification RM.1-5. The lockless look
    may miss an entry that mremap moves meanwhile.
    """
    mm = vma.vm_mm
    cell = mm.pte(address)
    looks_first = not g.kernel.remove_migration_pte_locks_first
    if looks_first and not (await cell.read(RM["1"])).migration:
        return SWAP_AGAIN
    ptl = mm.ptl(address)
    await ptl.lock(RM["2"])
    entry = await cell.read(RM["3"])
    if entry.migration and await migration_entry_to_page(g, entry, RM["3#2"]) is old:
        await get_page(new, RM["4a"])
        await cell.write(RM["4c"], Pte("present", new.pfn, entry.write))
        await page_add_anon_rmap(new, vma, address, RM["4d"])
    ptl.unlock(RM["4d"])
    return SWAP_AGAIN
