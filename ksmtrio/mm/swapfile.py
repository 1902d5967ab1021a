# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap map: who holds which slot of the swap area.

Kernel: mm/swapfile.c, v2.6.33; specification objects 2.4. Everything here happens under swap_lock.
Functions without a tag take the caller's label and add themselves. What needs the swap cache too is
in swapfile_reuse.py and swapfile_off.py. Tests: `tests/unit/test_swapfile.py`.
"""

from __future__ import annotations

from errno import EEXIST, ENOENT

from ksmtrio.errors import KernelBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE, SWAP_MAP_BAD, SwapEntry


async def get_swap_page(g: Globals, at: str) -> SwapEntry:
    """get_swap_page(): take a free slot for the swap cache, its count 0. Returns 0 when full."""
    swap = g.swap
    await swap.swap_lock.lock(f"{at}/get_swap_page")
    entry = 0
    if swap.writeok and 0 in swap.swap_map:
        entry = swap.swap_map.index(0)
        swap.swap_map[entry] = SWAP_HAS_CACHE
        left = swap.nr_swap_pages.read_in_step(at) - 1
        swap.nr_swap_pages.write_in_step(at, left)
    swap.swap_lock.unlock(at)
    return entry


async def swap_duplicate(g: Globals, entry: SwapEntry, at: str) -> int:
    """swap_duplicate(): one more pte holds the entry.

    Points: ``/swap_duplicate`` (the lock). Callers pass swap entries only: for a migration entry
    the kernel's function silently does nothing. Returns 0, or -ENOENT for a slot nobody uses.
    """
    swap = g.swap
    await swap.swap_lock.lock(f"{at}/swap_duplicate")
    byte = swap.swap_map[entry]
    used = byte not in (0, SWAP_MAP_BAD)
    if used:
        swap.swap_map[entry] = byte + 1
    swap.swap_lock.unlock(at)
    return 0 if used else -ENOENT


async def swapcache_prepare(g: Globals, entry: SwapEntry, at: str) -> int:
    """swapcache_prepare(): claim the slot for the swap cache.

    Returns:
        0, -EEXIST when the cache has it already, -ENOENT when no pte holds it any more.
    """
    swap = g.swap
    await swap.swap_lock.lock(f"{at}/swapcache_prepare")
    byte = swap.swap_map[entry]
    if byte & SWAP_HAS_CACHE:
        err = -EEXIST
    elif byte in (0, SWAP_MAP_BAD):
        err = -ENOENT
    else:
        swap.swap_map[entry] = byte | SWAP_HAS_CACHE
        err = 0
    swap.swap_lock.unlock(at)
    return err


async def swap_free(g: Globals, entry: SwapEntry, at: str) -> int:
    """swap_free(): one pte less holds the entry. Returns the slot's byte afterwards.

    Points: ``/swap_free`` (the lock).
    """
    return await _swap_entry_free(g, entry, 1, f"{at}/swap_free")


async def swapcache_free(g: Globals, entry: SwapEntry, at: str) -> int:
    """swapcache_free(): the swap cache lets go of the slot. Returns the slot's byte afterwards."""
    return await _swap_entry_free(g, entry, SWAP_HAS_CACHE, f"{at}/swapcache_free")


async def _swap_entry_free(g: Globals, entry: SwapEntry, usage: int, at: str) -> int:
    """Drop a hold under swap_lock; a slot that nothing holds any more is free."""
    await g.swap.swap_lock.lock(at)
    byte = swap_entry_free_locked(g, entry, usage, at)
    g.swap.swap_lock.unlock(at)
    return byte


def swap_entry_free_locked(g: Globals, entry: SwapEntry, usage: int, at: str) -> int:
    """swap_entry_free() proper; swap_lock held. Returns the slot's byte afterwards."""
    swap = g.swap
    byte = swap.swap_map[entry]
    held = byte & SWAP_HAS_CACHE if usage == SWAP_HAS_CACHE else byte & ~SWAP_HAS_CACHE
    if not held or byte == SWAP_MAP_BAD:
        raise KernelBug(at, f"swap_free: unused slot {entry}, byte {byte:#x}")
    byte -= usage
    swap.swap_map[entry] = byte
    if not byte:
        left = swap.nr_swap_pages.read_in_step(at) + 1
        swap.nr_swap_pages.write_in_step(at, left)
    return byte


async def page_swapcount(g: Globals, entry: SwapEntry, at: str) -> int:
    """page_swapcount(): how many ptes hold the slot of a page in the swap cache."""
    swap = g.swap
    await swap.swap_lock.lock(f"{at}/page_swapcount")
    count = swap.swap_map[entry] & ~SWAP_HAS_CACHE
    swap.swap_lock.unlock(at)
    return count


async def swap_map_byte(g: Globals, entry: SwapEntry, at: str) -> int:
    """Read a slot's byte: ptes and swap cache; 0 when nothing holds the slot.

    Kernel: a lockless look at *swap_map; here under swap_lock, which nobody can tell apart.
    """
    swap = g.swap
    await swap.swap_lock.lock(at)
    byte = swap.swap_map[entry]
    swap.swap_lock.unlock(at)
    return byte


async def mmlist_add(g: Globals, mm: MmStruct, at: str) -> None:
    """Put an mm first on the list where swapoff looks for swap entries, unless it is on one.

    Points: ``/mmlist`` (lockless look), ``/mmlist#2`` (mmlist_lock).
    """
    if await mm.on_mmlist.read(f"{at}/mmlist"):
        return
    swap = g.swap
    await swap.mmlist_lock.lock(f"{at}/mmlist#2")
    if not mm.on_mmlist.read_in_step(at):
        mm.on_mmlist.write_in_step(at, value=True)
        swap.mmlist = (mm, *swap.mmlist)
    swap.mmlist_lock.unlock(at)


async def mmlist_fork(g: Globals, child: MmStruct, parent: MmStruct, at: str) -> None:
    """Put a child on the list that its parent is on, unless it is on one.

    Kernel: part of copy_one_pte(), mm/memory.c, v2.6.33. A parent that is on no list forms one with
    the child that swapoff does not know; neither gets to swapoff's list while they hang together.
    Points as `mmlist_add`.
    """
    if await child.on_mmlist.read(f"{at}/mmlist"):
        return
    swap = g.swap
    await swap.mmlist_lock.lock(f"{at}/mmlist#2")
    if not child.on_mmlist.read_in_step(at):
        child.on_mmlist.write_in_step(at, value=True)
        if parent.on_mmlist.read_in_step(at):
            swap.mmlist = _after(swap.mmlist, parent, child)
            swap.mmlist_rings = tuple(_after(r, parent, child) for r in swap.mmlist_rings)
        else:
            parent.on_mmlist.write_in_step(at, value=True)
            swap.mmlist_rings = (*swap.mmlist_rings, (parent, child))
    swap.mmlist_lock.unlock(at)


def _after(mms: tuple[MmStruct, ...], parent: MmStruct, child: MmStruct) -> tuple[MmStruct, ...]:
    """list_add(): the child right behind its parent, if that is on this list."""
    if parent not in mms:
        return mms
    position = mms.index(parent) + 1
    return (*mms[:position], child, *mms[position:])


async def mmlist_remove(g: Globals, mm: MmStruct, at: str) -> None:
    """Take an mm off the list it is on, if any. Points as `mmlist_add`."""
    if not await mm.on_mmlist.read(f"{at}/mmlist"):
        return
    swap = g.swap
    await swap.mmlist_lock.lock(f"{at}/mmlist#2")
    mm.on_mmlist.write_in_step(at, value=False)
    swap.mmlist = tuple(other for other in swap.mmlist if other is not mm)
    rings = (tuple(other for other in ring if other is not mm) for ring in swap.mmlist_rings)
    swap.mmlist_rings = ()
    for ring in rings:
        if len(ring) > 1:
            swap.mmlist_rings = (*swap.mmlist_rings, ring)
        else:  # a list of one is an empty list
            ring[0].on_mmlist.write_in_step(at, value=False)
    swap.mmlist_lock.unlock(at)


async def vm_swap_full(g: Globals, at: str) -> bool:
    """vm_swap_full(): more than half of the slots are in use; a racy look at two counters.

    Points: the caller's (free slots), ``#2`` (all slots).
    """
    swap = g.swap
    return await swap.nr_swap_pages.read(at) * 2 < await swap.total_swap_pages.read(f"{at}#2")
