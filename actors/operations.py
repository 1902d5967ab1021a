# SPDX-License-Identifier: GPL-2.0-or-later
"""What each operation of a program does: one function an operation, and the table `OPERATIONS`.

A function takes the task and the operation's arguments and returns the answer; a failed call raises
SyscallError. Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import ENOENT, ESRCH
from typing import TYPE_CHECKING, Any, Final

from ksmtrio.errors import SyscallError
from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE
from ksmtrio.mm.madvise import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_NORMAL,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_WILLNEED,
)
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.mm.mempolicy_alloc import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED,
)
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
)
from ksmtrio.mm.mremap import MREMAP_FIXED, MREMAP_MAYMOVE
from ksmtrio.mm.task_types import SIGKILL, SIGUSR1
from ksmtrio.uapi import pipe, procfs, syscalls, sysfs, uaccess
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, Vaddr

if TYPE_CHECKING:
    from actors.base import UserTask

Answer = int | str | list[int] | None
Operation = Callable[["UserTask", Any], Awaitable[Answer]]

ADVICE: Final = {
    "MERGEABLE": MADV_MERGEABLE,
    "UNMERGEABLE": MADV_UNMERGEABLE,
    "DONTNEED": MADV_DONTNEED,
    "DONTFORK": MADV_DONTFORK,
    "DOFORK": MADV_DOFORK,
    "NORMAL": MADV_NORMAL,
    "RANDOM": MADV_RANDOM,
    "SEQUENTIAL": MADV_SEQUENTIAL,
    "WILLNEED": MADV_WILLNEED,
    "REMOVE": MADV_REMOVE,
}
MODES: Final = {
    "DEFAULT": MPOL_DEFAULT,
    "PREFERRED": MPOL_PREFERRED,
    "BIND": MPOL_BIND,
    "INTERLEAVE": MPOL_INTERLEAVE,
}
FLAGS: Final = {"STRICT": MPOL_MF_STRICT, "MOVE": MPOL_MF_MOVE, "MOVE_ALL": MPOL_MF_MOVE_ALL}
PROT: Final = {"READ": PROT_READ, "WRITE": PROT_WRITE}
SIGNALS: Final = {"KILL": SIGKILL, "USR1": SIGUSR1}


def _bits(names: tuple[str, ...]) -> int:
    return sum(FLAGS[name] for name in names)


def _range(task: UserTask, args: Any) -> tuple[Vaddr, int]:
    """Return (start, length) in bytes of a run of pages, holes between vmas included."""
    start = task.address(args["page"])
    last = task.address(args["page"] + args["pages"] - 1)
    return start, last + PAGE_SIZE - start


def _target(task: UserTask, args: Any) -> MmStruct:
    """Return the address space of the process that is meant, by default the task's own."""
    name = args["target"]
    if name is None:
        return task.mm
    mm = task.machine.find_process(name)
    if mm is None:
        raise SyscallError(ESRCH)
    return mm


def _addresses(task: UserTask, args: Any) -> list[Vaddr]:
    known = task.machine.addresses[args["target"] or task.spec.process or ""]
    return [known[page] for page in args["pages"]]


# -- accesses --------------------------------------------------------------------------------------


async def _load(task: UserTask, args: Any) -> Answer:
    err, value = await uaccess.load(task.g, task.mm, task.address(args["page"]), args["half"])
    return err or value


async def _store(task: UserTask, args: Any) -> Answer:
    halves = (0, 1) if args["half"] is None else (args["half"],)
    for half in halves:
        address = task.address(args["page"])
        err = await uaccess.store(task.g, task.mm, address, half, args["value"])
        if err:
            return err
    return 0


# -- calls on the task's own address space ---------------------------------------------------------


async def _madvise(task: UserTask, args: Any) -> Answer:
    return await syscalls.madvise(task.g, task.mm, *_range(task, args), ADVICE[args["advice"]])


async def _mmap(task: UserTask, args: Any) -> Answer:
    prot = sum(PROT[name] for name in args["prot"])
    flags = MAP_ANONYMOUS | MAP_FIXED
    flags |= MAP_SHARED if "SHARED" in args["flags"] else MAP_PRIVATE
    flags |= MAP_LOCKED if "LOCKED" in args["flags"] else 0
    return task.page_at(await syscalls.mmap(task.g, task.mm, *_range(task, args), prot, flags))


async def _mremap(task: UserTask, args: Any) -> Answer:
    start, length = _range(task, args)
    new_length = PAGE_SIZE * (args["new_pages"] or args["pages"])
    flags, to = MREMAP_MAYMOVE, 0
    if args["to"] is not None:
        flags, to = flags | MREMAP_FIXED, task.address(args["to"])
    call = syscalls.mremap(task.g, task.mm, start, length, new_length, flags, to)
    return task.page_at(await call)


async def _mlock(task: UserTask, args: Any) -> Answer:
    return await syscalls.mlock(task.g, task.mm, *_range(task, args))


async def _munlock(task: UserTask, args: Any) -> Answer:
    return await syscalls.munlock(task.g, task.mm, *_range(task, args))


async def _munmap(task: UserTask, args: Any) -> Answer:
    return await syscalls.munmap(task.g, task.mm, *_range(task, args))


async def _mbind(task: UserTask, args: Any) -> Answer:
    start, length = _range(task, args)
    mode, flags = MODES[args["mode"]], _bits(args["flags"])
    return await syscalls.mbind(task.g, task.mm, start, length, mode, args["nodes"], flags)


async def _move_pages(task: UserTask, args: Any) -> Answer:
    mm, pages = _target(task, args), _addresses(task, args)
    nodes = [args["node"]] * len(pages)
    return await syscalls.move_pages(task.g, mm, pages, nodes, _bits(args["flags"]))


async def _query_pages(task: UserTask, args: Any) -> Answer:
    return await syscalls.move_pages(task.g, _target(task, args), _addresses(task, args), None, 0)


async def _migrate_pages(task: UserTask, args: Any) -> Answer:
    old, new = args["old_nodes"], args["new_nodes"]
    return await syscalls.migrate_pages(task.g, _target(task, args), old, new)


async def _numa_maps(task: UserTask, args: Any) -> Answer:
    text = await procfs.numa_maps(task.g, _target(task, args))
    return text.removesuffix("\n")


async def _soft_offline(task: UserTask, args: Any) -> Answer:
    """Find the frame in pagemap, which it may have left by the time the file is written."""
    pfn = await procfs.pagemap(task.g, task.mm, task.address(args["page"]))
    if pfn is None:
        return -ENOENT
    await sysfs.write_soft_offline_page(task.g, f"{pfn << PAGE_SHIFT:#x}")
    return 0


async def _pin(task: UserTask, args: Any) -> Answer:
    return await pipe.vmsplice(task.g, task.mm, task.address(args["page"]))


async def _unpin(task: UserTask, args: Any) -> Answer:
    await pipe.drain(task.g, task.mm, task.address(args["page"]))
    return 0


async def _fork(task: UserTask, args: Any) -> Answer:
    """The child begins in the step in which the call ends."""
    name = args["child"] or task.g.rt.creation_name("child")
    task.machine.give_birth(name, await syscalls.fork(task.g, task.mm, name))
    return 0


async def _exit(task: UserTask, _: Any) -> Answer:
    await task.exit()
    return None


# -- the whole machine -----------------------------------------------------------------------------


async def _kill(task: UserTask, args: Any) -> Answer:
    return await syscalls.kill(task.g, args["actor"], SIGNALS[args["signal"]])


async def _reclaim(task: UserTask, args: Any) -> Answer:
    return await syscalls.reclaim(task.g, args["pages"])


async def _swapoff(task: UserTask, _: Any) -> Answer:
    return await syscalls.swapoff(task.g)


async def _offline(task: UserTask, args: Any) -> Answer:
    block = task.machine.memory_blocks[args["block"]]
    await sysfs.write_memory_state(task.g, block, "offline")
    return 0


async def _online(task: UserTask, args: Any) -> Answer:
    block = task.machine.memory_blocks[args["block"]]
    await sysfs.write_memory_state(task.g, block, "online")
    return 0


async def _remove_section(task: UserTask, args: Any) -> Answer:
    return await sysfs.eject_memory(task.g, task.machine.memory_blocks[args["block"]])


async def _sysfs_read(task: UserTask, args: Any) -> Answer:
    text = await sysfs.read(task.g, args["path"])
    return text.removesuffix("\n")


async def _sysfs_write(task: UserTask, args: Any) -> Answer:
    await sysfs.write(task.g, args["path"], args["text"])
    return 0


OPERATIONS: Final[dict[str, Operation]] = {
    "load": _load,
    "store": _store,
    "madvise": _madvise,
    "mmap": _mmap,
    "mremap": _mremap,
    "mlock": _mlock,
    "munlock": _munlock,
    "munmap": _munmap,
    "mbind": _mbind,
    "move_pages": _move_pages,
    "query_pages": _query_pages,
    "migrate_pages": _migrate_pages,
    "numa_maps": _numa_maps,
    "soft_offline": _soft_offline,
    "pin": _pin,
    "unpin": _unpin,
    "fork": _fork,
    "exit": _exit,
    "kill": _kill,
    "reclaim": _reclaim,
    "swapoff": _swapoff,
    "offline": _offline,
    "online": _online,
    "remove_section": _remove_section,
    "sysfs_read": _sysfs_read,
    "sysfs_write": _sysfs_write,
}
"""Operation of a scenario -> what the task does."""
