# SPDX-License-Identifier: GPL-2.0-or-later
"""swapoff(2): bring everything back from swap.

Kernel: mm/swapfile.c, v2.6.33; specification UU. Tests: `tests/unit/test_swapfile_off.py`.
"""

from __future__ import annotations

from errno import EINTR, EINVAL, ENOMEM

from ksmtrio.mm.filemap import wait_on_page_writeback
from ksmtrio.mm.fork import mmput
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_swap import page_for_swapoff
from ksmtrio.mm.mm_types import MmStruct, Page, Pte, Vma, page_anon_vma
from ksmtrio.mm.page_flags import PG_DIRTY, PG_SWAPCACHE
from ksmtrio.mm.page_io import swap_writepage
from ksmtrio.mm.rmap import page_add_anon_rmap
from ksmtrio.mm.signal import signal_pending
from ksmtrio.mm.swap import activate_page, get_page, put_page
from ksmtrio.mm.swap_state import delete_from_swap_cache
from ksmtrio.mm.swap_state_read import read_swap_cache_async
from ksmtrio.mm.swap_types import SwapEntry
from ksmtrio.mm.swapfile import page_swapcount, swap_free, swap_map_byte
from ksmtrio.sched.cell import adjust
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, Vaddr

OFF = Points(__name__, "sys_swapoff", "UU", "1 1#2 1#3 9 9#2 9#3")
UU = Points(
    __name__,
    "try_to_unuse",
    "UU",
    "2 2#2 3 3#2 4a 4b 4b/wait_on_page_writeback 4b/wait_on_page_writeback#2 4c "
    "4d 4d/wait_on_page_writeback 4d/wait_on_page_writeback#2 5 5/page_swapcount 5#2 5#3 5#4 7 "
    "7/page_swapcount 7#2 7#3 7/wait_on_page_writeback 7/wait_on_page_writeback#2 8 8#2 8#3 8#4 "
    "8/put_page 8#5",
)
COPY = Points(__name__, "unuse_pte", "", "unlock")
UNUSE = Points(
    __name__,
    "unuse_mm",
    "UU",
    "6.1 6.1/activate_page 6.1#2 6.1#3 6.1#4 6.2 6.2#2 6.2#3 6.3 6.3#2 6.3#3 6.4 6.4#2 "
    "6.4#3 6.4/set_pte 6.4/swap_free 6.4/activate_page 6.5",
)


async def sys_swapoff(g: Globals) -> int:
    """UU: stop handing out slots, then unuse them all; on failure hand them out again.

    Kernel: sys_swapoff(), try_to_unuse() and unuse_mm(), v2.6.33.

    Steps of UU:
        1. LOCK swap_lock; hand out no more slots; UNLOCK.
        2. The next used slot; none: done. A signal: -EINTR, go to 9.
        3. Its page, from the swap cache or read in. None: the slot was freed, go to 2; or -ENOMEM,
           go to 9.
        4. Wait until it is unlocked and written; LOCK the page; wait until it is written.
        5. LOCK mmlist_lock; the next mm; pin it; UNLOCK. None left, or no pte holds the slot any
           more: go to 7.
        6. unuse_mm: in that mm replace one pte that holds the slot; go to 5.
        7. Ptes left: write the page out if it is dirty, and LOCK it again.
        8. Out of the swap cache, if it is still there under this slot; set PG_dirty; UNLOCK the
           page; put it; go to 2.
        9. LOCK swap_lock; hand out slots again; UNLOCK.

    Returns:
        0, -EINVAL when there is no swap, -EINTR, -ENOMEM.
    """
    swap = g.swap
    await swap.swap_lock.lock(OFF["1"])
    if not swap.writeok:
        swap.swap_lock.unlock(OFF["1"])
        return -EINVAL
    swap.writeok = False
    await adjust(swap.nr_swap_pages, OFF["1#2"], -swap.total)
    await adjust(swap.total_swap_pages, OFF["1#3"], -swap.total)
    swap.swap_lock.unlock(OFF["1#2"])
    err = await _try_to_unuse(g)
    if err:
        await swap.swap_lock.lock(OFF["9"])
        swap.writeok = True
        await adjust(swap.nr_swap_pages, OFF["9#2"], +swap.total)
        await adjust(swap.total_swap_pages, OFF["9#3"], +swap.total)
        swap.swap_lock.unlock(OFF["9#2"])
    return err


async def _find_next_to_unuse(g: Globals, prev: SwapEntry) -> SwapEntry:
    """find_next_to_unuse(): the next used slot after `prev`, round and round; 0 when none is left.

    Kernel: a racy scan of the map; here under swap_lock, which nobody can tell apart.
    """
    swap = g.swap
    await swap.swap_lock.lock(UU["2"])
    order = [*range(prev + 1, swap.total + 1), *range(1, prev + 1)]
    found = next((entry for entry in order if swap.swap_map[entry]), 0)
    swap.swap_lock.unlock(UU["2"])
    return found


async def _try_to_unuse(g: Globals) -> int:
    """try_to_unuse(): slot by slot until none is used."""
    entry = 0
    while True:
        entry = await _find_next_to_unuse(g, entry)
        if not entry:
            return 0
        if await signal_pending(g, UU["2#2"]):
            return -EINTR
        page = await read_swap_cache_async(g, entry, None, 0)
        if page is None:
            # Freed meanwhile, or no memory to read it into.
            if await swap_map_byte(g, entry, UU["3"]):
                return -ENOMEM
            await g.rt.cond_resched(UU["3#2"])
            continue
        err = await _unuse_page(g, page, entry)
        if err:
            return err
        await g.rt.cond_resched(UU["8#5"])


async def _unuse_page(g: Globals, page: Page, entry: SwapEntry) -> int:
    """UU.4-8: replace every pte that holds the slot, then free the slot. Returns 0 or -ENOMEM."""
    await page.page_lock.wait_unlocked(UU["4a"])
    await wait_on_page_writeback(page, UU["4b"])
    await page.page_lock.lock(UU["4c"])
    await wait_on_page_writeback(page, UU["4d"])
    unused: list[MmStruct] = []
    err = await _unuse_mms(g, page, entry, unused)
    if not err:
        await _free_slot(g, page, entry)
    await page.page_lock.unlock(UU["8#4"])
    await put_page(g, page, UU["8/put_page"])
    for mm in unused:
        await mmput(g, mm)
    return err


async def _free_slot(g: Globals, page: Page, entry: SwapEntry) -> None:
    """UU.7-8: take the page, which is locked, out of the swap cache."""
    if await page_swapcount(g, entry, UU["7"]):
        # Former KSM sharers with other anon_vmas: they will read the slot into another page.
        flags = await page.flags.read(UU["7#2"])
        if flags & PG_DIRTY and flags & PG_SWAPCACHE:
            await swap_writepage(g, page)
            await page.page_lock.lock(UU["7#3"])
            await wait_on_page_writeback(page, UU["7"])
    cached = await page.flags.test(UU["8"], PG_SWAPCACHE)
    if cached and await page.private.read(UU["8#2"]) == entry:
        await delete_from_swap_cache(g, page)
    await page.flags.set(UU["8#3"], PG_DIRTY)


async def _unuse_mms(g: Globals, page: Page, entry: SwapEntry, unused: list[MmStruct]) -> int:
    """UU.5: search the mms on the list while ptes hold the slot.

    Each is pinned until the next one is, and so stays on the list as the place to go on from. Who
    is the last to drop an mm tears it down, **with the page locked**: __ksm_exit may wait for
    ksmd, which waits for that page lock. With `proposed_swapoff_puts_mms_unlocked` the caller drops
    them.

    Differs: starts at the head of the list for each slot, the kernel where it found most last time.

    Args:
        unused: gets the mms that the caller must put once the page is unlocked.
    """
    swap = g.swap
    previous: MmStruct | None = None
    err = 0
    while not err and await page_swapcount(g, entry, UU["5"]):
        found: MmStruct | None = None
        await swap.mmlist_lock.lock(UU["5#2"])
        begin = 0 if previous is None else swap.mmlist.index(previous) + 1
        for mm in swap.mmlist[begin:]:
            if await mm.mm_users.inc_not_zero(UU["5#3"]):
                found = mm
                break
        swap.mmlist_lock.unlock(UU["5#3"])
        if found is None:
            break
        await _put_unused(g, previous, unused)
        previous = found
        await g.rt.cond_resched(UU["5#4"])
        err = await unuse_mm(g, found, entry, page)
    await _put_unused(g, previous, unused)
    return err


async def _put_unused(g: Globals, mm: MmStruct | None, unused: list[MmStruct]) -> None:
    """Drop an mm that was searched, here or later."""
    if mm is None:
        return
    if g.kernel.proposed_swapoff_puts_mms_unlocked:
        unused.append(mm)
    else:
        await mmput(g, mm)


async def unuse_mm(g: Globals, mm: MmStruct, entry: SwapEntry, page: Page) -> int:
    """unuse_mm(): replace one pte of an mm that holds the slot; page locked.

    Kernel: mm/swapfile.c, v2.6.33; UU.6: .1 mmap_sem, which may only be tried while the page is
    locked; when that fails the page lock is dropped; .2 each vma with an anon_vma; a page of known
    anon_vma has one address there, a KSM page or a fresh one may be anywhere; .3 the pte; .4 map
    the page; .5 done after the first. A KSM page may have more: those will read the slot into
    another page.
    Differs: memory control groups cannot refuse the charge.

    Returns:
        0; or -ENOMEM for want of a copy, with `swapoff_might_copy` alone.
    """
    if not await mm.mmap_sem.down_read_trylock(UNUSE["6.1"]):
        await activate_page(g, page, UNUSE["6.1"])
        await page.page_lock.unlock(UNUSE["6.1#2"])
        await mm.mmap_sem.down_read(UNUSE["6.1#3"])
        await page.page_lock.lock(UNUSE["6.1#4"])
    done = 0
    for vma in mm.vmas:
        if await vma.anon_vma.read(UNUSE["6.2"]) is None:
            continue
        for address in await _addresses_in(page, vma):
            done = await _unuse_pte(g, vma, address, entry, page)
            if done:
                break
        if done:
            break
    await mm.mmap_sem.up_read(UNUSE["6.5"])
    return min(done, 0)


async def _addresses_in(page: Page, vma: Vma) -> range:
    """Return where in a vma the page may have been: its one address, or anywhere."""
    anon_vma = await page_anon_vma(page, UNUSE["6.2#2"])
    if anon_vma is None:
        return range(vma.vm_start, vma.vm_end, PAGE_SIZE)
    if await vma.anon_vma.read(UNUSE["6.2#3"]) is not anon_vma:
        return range(0)
    address = vma.address_of_index(page.index.read_in_step(UNUSE["6.2#3"]))
    return range(0) if address is None else range(address, address + PAGE_SIZE, PAGE_SIZE)


async def _unuse_pte(g: Globals, vma: Vma, address: Vaddr, entry: SwapEntry, page: Page) -> int:
    """unuse_pte(): map the page, or a copy, where the entry is.

    Returns:
        1 if it was there, 0 if not, -ENOMEM for want of a copy.
    """
    if address >> PAGE_SHIFT not in vma.vm_mm.ptes:
        return 0
    if await vma.vm_mm.pte(address).read(UNUSE["6.3"]) != Pte("swap", entry):
        return 0
    if not g.kernel.swapoff_might_copy:
        return await _replace_entry(g, vma, address, entry, page)
    used = await page_for_swapoff(g, page, vma, address)
    if used is None:
        return -ENOMEM
    done = await _replace_entry(g, vma, address, entry, used)
    if used is not page:
        await used.page_lock.unlock(COPY["unlock"])
        await put_page(g, used, UU["8/put_page"])
    return done


async def _replace_entry(g: Globals, vma: Vma, address: Vaddr, entry: SwapEntry, page: Page) -> int:
    """UU.6.3-4: map a locked page, unless the entry has gone. Returns 1 or 0."""
    cell, ptl = vma.vm_mm.pte(address), vma.vm_mm.ptl(address)
    await ptl.lock(UNUSE["6.3#2"])
    if await cell.read(UNUSE["6.3#3"]) != Pte("swap", entry):
        ptl.unlock(UNUSE["6.3#3"])
        return 0
    await get_page(page, UNUSE["6.4"])
    await cell.write(UNUSE["6.4/set_pte"], Pte("present", page.pfn))
    await page_add_anon_rmap(page, vma, address, UNUSE["6.4"])
    await swap_free(g, entry, UNUSE["6.4"])
    await activate_page(g, page, UNUSE["6.4"])
    ptl.unlock(UNUSE["6.4"])
    return 1
