# SPDX-License-Identifier: GPL-2.0-or-later
"""One function per system call, in kernel argument order, returning 0 or raising SyscallError.

Tests: `tests/unit/test_syscalls.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from errno import ENOMEM, ESRCH

from ksmtrio.errors import SyscallError
from ksmtrio.mm.fork import dup_mm, exit_mm
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.madvise import sys_madvise
from ksmtrio.mm.mempolicy import sys_mbind, sys_migrate_pages
from ksmtrio.mm.migrate_syscalls import sys_move_pages
from ksmtrio.mm.mlock import sys_mlock, sys_munlock
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.mmap import sys_mmap, sys_munmap
from ksmtrio.mm.mremap import sys_mremap
from ksmtrio.mm.signal import errno_of, get_signal_to_deliver, send_sig
from ksmtrio.mm.swapfile_off import sys_swapoff
from ksmtrio.mm.task_types import SIGKILL
from ksmtrio.mm.vmscan_reclaim import try_to_free_pages
from ksmtrio.sched.points import Points
from ksmtrio.uapi.answer import system_call
from ksmtrio.units import Nid, Vaddr

KILL = Points(__name__, "sys_kill", "", "1 1#2")
RETURN = Points(__name__, "do_notify_resume", "", "1 1#2")


def _check(ret: int) -> int:
    if ret < 0:
        raise SyscallError(errno_of(ret))
    return ret


def _alive(mm: MmStruct) -> None:
    """A task whose address space is gone makes no system calls."""
    if mm.group.threads.look() == 0 or mm.mm_users.look() == 0:
        raise SyscallError(ESRCH)


@system_call
async def madvise(g: Globals, mm: MmStruct, start: Vaddr, len_in: int, behavior: int) -> int:
    """madvise(2). `start` and `len_in` in bytes."""
    _alive(mm)
    return _check(await sys_madvise(g, mm, start, len_in, behavior))


@system_call
async def mmap(g: Globals, mm: MmStruct, addr: Vaddr, length: int, prot: int, flags: int) -> Vaddr:
    """mmap(2) of anonymous memory. Returns its address."""
    _alive(mm)
    return _check(await sys_mmap(g, mm, addr, length, prot, flags))


@system_call
async def munmap(g: Globals, mm: MmStruct, addr: Vaddr, length: int) -> int:
    """munmap(2). `addr` and `length` in bytes."""
    _alive(mm)
    return _check(await sys_munmap(g, mm, addr, length))


@system_call
async def mremap(
    g: Globals,
    mm: MmStruct,
    addr: Vaddr,
    old_len: int,
    new_len: int,
    flags: int,
    new_addr: Vaddr = 0,
) -> Vaddr:
    """mremap(2). Returns the address of the mapping."""
    _alive(mm)
    return _check(await sys_mremap(g, mm, addr, old_len, new_len, flags, new_addr))


@system_call
async def mlock(g: Globals, mm: MmStruct, start: Vaddr, length: int) -> int:
    """mlock(2). `start` and `length` in bytes."""
    _alive(mm)
    return _check(await sys_mlock(g, mm, start, length))


@system_call
async def munlock(g: Globals, mm: MmStruct, start: Vaddr, length: int) -> int:
    """munlock(2). `start` and `length` in bytes."""
    _alive(mm)
    return _check(await sys_munlock(g, mm, start, length))


@system_call
async def mbind(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    length: int,
    mode: int,
    nodes: Collection[Nid],
    flags: int,
) -> int:
    """mbind(2). `start` and `length` in bytes; `nodes` are the bits of the mask."""
    _alive(mm)
    return _check(await sys_mbind(g, mm, start, length, mode, nodes, flags))


@system_call
async def move_pages(
    g: Globals, mm: MmStruct, pages: Sequence[Vaddr], nodes: Sequence[Nid] | None, flags: int
) -> list[int]:
    """move_pages(2); without nodes it only queries. Returns the statuses, one a page."""
    status = [0] * len(pages)
    _check(await sys_move_pages(g, mm, len(pages), pages, nodes, status, flags))
    return status


@system_call
async def migrate_pages(
    g: Globals, mm: MmStruct, old_nodes: Collection[Nid], new_nodes: Collection[Nid]
) -> int:
    """migrate_pages(2). Returns the number of pages that could not be moved."""
    return _check(await sys_migrate_pages(g, mm, old_nodes, new_nodes))


@system_call
async def fork(g: Globals, mm: MmStruct, name: str) -> MmStruct:
    """fork(2). Returns the child's address space, which has one user: the child."""
    _alive(mm)
    child = await dup_mm(g, mm, name)
    if child is None:
        raise SyscallError(ENOMEM)
    return child


@system_call
async def exit_(g: Globals, mm: MmStruct) -> None:
    """exit(2): the task drops its address space."""
    _check(await exit_mm(g, mm))


@system_call
async def swapoff(g: Globals) -> int:
    """swapoff(2) of the one swap area."""
    return _check(await sys_swapoff(g))


@system_call
async def kill(g: Globals, actor_name: str, sig: int = SIGKILL) -> int:
    """kill(2). Kernel threads ignore signals."""
    return _check(await send_sig(g, actor_name, KILL["1"], sig))


@system_call
async def reclaim(g: Globals, nr_pages: int) -> int:
    """What a task does that allocates memory when there is none: direct reclaim.

    Returns:
        Pages freed; fewer than `nr_pages` when a whole round freed none.
    """
    freed = 0
    while freed < nr_pages:
        progress = await try_to_free_pages(g, list(g.zones.values()))
        if not progress:
            break
        freed += progress
    return freed


@system_call
async def return_to_user(g: Globals) -> bool:
    """What a task does on its way back to user space: take the signals that are pending.

    Kernel: arch/x86/kernel/signal.c, do_notify_resume(), v2.6.33.

    Returns:
        Whether one of them kills it; it must exit then.
    """
    while sig := await get_signal_to_deliver(g, RETURN["1"]):
        if sig == SIGKILL:
            return True
    return False
