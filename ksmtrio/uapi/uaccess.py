# SPDX-License-Identifier: GPL-2.0-or-later
"""User loads and stores. Kernel: arch/x86/mm/fault.c, do_page_fault(), v2.6.33.

The hardware's look at the pte and the access through it are one step: once a pte has been cleared
and flushed, no access goes through its old value. Tests: `tests/unit/test_uaccess.py`.
"""

from __future__ import annotations

from errno import EFAULT, ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import VM_FAULT_OOM, handle_mm_fault
from ksmtrio.mm.mm_types import VM_READ, VM_WRITE, MmStruct, Token
from ksmtrio.mm.mmap import vma_at
from ksmtrio.sched.points import Points
from ksmtrio.units import HALVES_PER_PAGE, PAGE_SIZE, TASK_SIZE, ULONG_MASK, Vaddr

USER = Points(__name__, "user", "", "load store")
PAGE_FAULT = Points(__name__, "do_page_fault", "", "1 2")

_WORD_SIZE: Final = PAGE_SIZE // HALVES_PER_PAGE


def _word(address: Vaddr, half: int) -> tuple[Vaddr, int]:
    """Return the page's address and the half of it at `half` words beyond an address."""
    address = (address + half * _WORD_SIZE) & ULONG_MASK
    return address - address % PAGE_SIZE, address % PAGE_SIZE // _WORD_SIZE


def _unreachable(mm: MmStruct, address: Vaddr) -> bool:
    """Whether an access gets to no page table: of the kernel, or after the task has exited."""
    return address >= TASK_SIZE or mm.mm_users.look() == 0


async def load(g: Globals, mm: MmStruct, address: Vaddr, half: int) -> tuple[int, Token]:
    """Load half a page, the first or second one behind `address`.

    Returns:
        (0, value), or (negative errno, 0): -EFAULT for a segmentation fault, or -ENOMEM.
    """
    address, half = _word(address, half)
    if _unreachable(mm, address):
        return -EFAULT, 0
    cell = mm.pte(address)
    while True:
        await g.rt.point(USER["load"], "load", cell)
        pte = cell.read_in_step(USER["load"])
        if pte.present:
            value = 0
            if not pte.special:
                page = g.pfn_to_page(pte.pfn)
                value = page.content[half].read_in_step(USER["load"])
            if not pte.young:
                cell.write_in_step(USER["load"], pte._replace(young=True))
            for watcher in g.user_access:
                watcher.loaded(mm, address, half, value, USER["load"])
            return 0, value
        err = await do_page_fault(g, mm, address, write=False)
        if err:
            return err, 0


async def store(g: Globals, mm: MmStruct, address: Vaddr, half: int, value: Token) -> int:
    """Store half a page. Returns 0 or a negative errno, as of `load`."""
    address, half = _word(address, half)
    if _unreachable(mm, address):
        return -EFAULT
    cell = mm.pte(address)
    while True:
        await g.rt.point(USER["store"], "store", cell)
        pte = cell.read_in_step(USER["store"])
        if pte.present and pte.write:
            g.pfn_to_page(pte.pfn).content[half].write_in_step(USER["store"], value)
            if not (pte.young and pte.dirty):
                cell.write_in_step(USER["store"], pte._replace(young=True, dirty=True))
            for watcher in g.user_access:
                watcher.stored(mm, address, half, value, USER["store"])
            return 0
        err = await do_page_fault(g, mm, address, write=True)
        if err:
            return err


async def do_page_fault(g: Globals, mm: MmStruct, address: Vaddr, *, write: bool) -> int:
    """do_page_fault(): serve a fault under mmap_sem; -EFAULT stands for SIGSEGV."""
    await mm.mmap_sem.down_read(PAGE_FAULT["1"])
    vma = vma_at(mm, address)
    if vma is None or not vma.vm_flags & (VM_WRITE if write else VM_READ):
        err = -EFAULT
    else:
        fault = await handle_mm_fault(g, vma, address, write=write)
        err = -ENOMEM if fault & VM_FAULT_OOM else 0
    await mm.mmap_sem.up_read(PAGE_FAULT["2"])
    return err
