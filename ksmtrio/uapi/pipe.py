# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipes as a place where a task keeps references on pages. Kernel: fs/splice.c, v2.6.33.

Each task has a pipe of its own, wide enough. Tests: `tests/unit/test_gup.py`.
"""

from __future__ import annotations

from errno import ESRCH

from ksmtrio.errors import SyscallError
from ksmtrio.mm.globals import Globals, PipeBuffer
from ksmtrio.mm.gup import get_user_page_fast
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.signal import errno_of
from ksmtrio.mm.swap import put_page
from ksmtrio.sched.points import Points
from ksmtrio.uapi.answer import system_call
from ksmtrio.units import PAGE_SIZE, ULONG_MASK, Vaddr

RELEASE = Points(__name__, "pipe_buf_release", "", "1/put_page")


@system_call
async def vmsplice(g: Globals, mm: MmStruct, address: Vaddr) -> int:
    """vmsplice(2) of the page at an address into a pipe, which keeps it referenced.

    Raises:
        SyscallError: EFAULT where nothing is mapped, ENOMEM, EINTR; ESRCH when the task has exited.
    """
    if mm.mm_users.look() == 0:
        raise SyscallError(ESRCH)
    address &= ULONG_MASK
    page = await get_user_page_fast(g, mm, address)
    if isinstance(page, int):
        raise SyscallError(errno_of(page))
    g.pipe_buffers.append(PipeBuffer(mm, address - address % PAGE_SIZE, page))
    g.tell_pipe(mm)
    return 0


@system_call
async def drain(g: Globals, mm: MmStruct, address: Vaddr) -> int:
    """Read back from the pipe, and so drop, what was mapped at an address.

    Returns:
        Pages dropped.
    """
    address &= ULONG_MASK
    address -= address % PAGE_SIZE
    own = [b for b in g.pipe_buffers if b.mm is mm and b.address == address]
    for buffer in own:  # all at once: another thread of the process may drain as well
        g.pipe_buffers.remove(buffer)
    g.tell_pipe(mm)
    for buffer in own:
        await put_page(g, buffer.page, RELEASE["1/put_page"])
    return len(own)
