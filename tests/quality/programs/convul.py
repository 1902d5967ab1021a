# SPDX-License-Identifier: GPL-2.0-or-later
"""Races of the Linux kernel that had a CVE: use after free, double free, NULL dereference.

Each program holds the few words concerned. All bugs have depth 2: one task is held up at the place
that is named. Bug by bug:

`cve_2009_3547`, pipes: a reader opens a pipe again while its last user goes; the opener has found
the inode, but not looked at its pipe under the inode's lock. Corrected: it looks there.
`cve_2011_2183`, KSM: the last task leaves the scan list after ksmd saw that the list is not empty;
ksmd takes the list head for a task, whose mm is NULL. Corrected: it looks again under the lock.
`cve_2013_1792`, keyrings: a user's two keyrings are made one after the other; who finds the first
one takes the second one for made. Corrected: both are looked at under the lock.
`cve_2015_7550`, keys: a key is validated, then read under its semaphore; it is revoked in between.
Corrected: it is validated under the semaphore.
`cve_2016_9806`, netlink: two dumps of one socket share a callback; each frees the buffer that it
finds there after the lock was given back. Corrected: it frees its own buffer.
`cve_2017_6346`, packet fanout: two callers set the socket's rollover, then each frees what it
finds. Corrected: each frees what it made.
`cve_2017_15265`, sequencer: a new port is on the list before its creator has filled it in; another
task deletes it. Corrected: the creator holds a reference.

Source: the set of concurrency vulnerabilities of Cai, Zhu, Meng, Yun, He, Su, Liang, "Detecting
Concurrency Memory Corruption Vulnerabilities", ESEC/FSE 2019 (ConVul), and, for CVE-2011-2183, the
kernel's own history. Our own reduction.
"""

from __future__ import annotations

from ksmtrio.sched import Cell, Program, bind
from ksmtrio.sched.program import Box


def pipe_open(p: Program, *, look: bool) -> None:
    lock, pipe, readers = p.lock("i_mutex"), p.cell("i_pipe", 1), p.cell("readers", 1)

    async def release() -> None:
        await lock.acquire("release.1")
        left = await readers.read("release.2") - 1
        await readers.write("release.3", left)
        if left == 0:
            await pipe.write("release.4", None)
        await lock.release("release.5")

    async def reopen() -> None:
        await lock.acquire("open.1")
        found = await pipe.read("open.2")
        if found is not None or not look:
            p.check(found is not None, "NULL is followed to a pipe")
            await readers.write("open.4", await readers.read("open.3") + 1)
        await lock.release("open.5")

    async def lookup_and_open() -> None:
        if await pipe.read("lookup.1") is not None:
            await reopen()

    p.task("release", release)
    p.task("open", lookup_and_open)


def scan_list(p: Program, *, look: bool) -> None:
    lock, slots = p.lock("ksm_mmlist_lock"), p.cell("mm_list", ("slot",))

    async def ksmd() -> None:
        if not await slots.read("scan.1"):
            return
        await lock.acquire("scan.2")
        listed = await slots.read("scan.3")
        await lock.release("scan.4")
        if listed or not look:
            p.check(bool(listed), "the list head is taken for a slot; its mm is NULL")

    async def leave() -> None:
        await lock.acquire("exit.1")
        await slots.write("exit.2", ())
        await lock.release("exit.3")

    p.task("ksmd", ksmd)
    p.task("exit", leave)


def keyrings(p: Program, *, locked: bool) -> None:
    lock = p.lock("key_user_keyring_mutex")
    user, session = p.cell("uid_keyring", None), p.cell("session_keyring", None)

    async def install() -> None:
        if not locked and await user.read("install.1") is not None:
            return
        await lock.acquire("install.2")
        if await user.read("install.3") is None:
            await user.write("install.4", 1)
            await session.write("install.5", 2)
        await lock.release("install.6")

    async def caller() -> None:
        await install()
        p.check(await session.read("use.1") is not None, "NULL is followed to a keyring")

    p.task("t1", caller, like="caller")
    p.task("t2", caller, like="caller")


def read_key(p: Program, *, inside: bool) -> None:
    sem, revoked, payload = p.lock("sem"), p.cell("revoked", False), p.cell("payload", 1)

    async def read() -> None:
        valid = inside or not await revoked.read("read.1")
        await sem.acquire("read.2")
        if inside:
            valid = not await revoked.read("read.3")
        if valid:
            p.check(await payload.read("read.4") is not None, "NULL is followed to a payload")
        await sem.release("read.5")

    async def revoke() -> None:
        await sem.acquire("revoke.1")
        await revoked.write("revoke.2", True)
        await payload.write("revoke.3", None)
        await sem.release("revoke.4")

    p.task("read", read)
    p.task("revoke", revoke)


def shared_pointer(p: Program, *, own: bool, locked: bool) -> None:
    """Two tasks store a buffer of their own in a common word; then each frees what it finds."""
    lock = p.lock("lock")
    pointer: Cell[Box | None] = p.cell("pointer", None)

    async def caller() -> None:
        mine = p.object(f"{p.rt.me.name}.buffer")
        if locked:
            await lock.acquire("call.1")
        await pointer.write("call.2", mine)
        if locked:
            await lock.release("call.3")
        else:
            await lock.acquire("call.4")
            await lock.release("call.5")
        found = await pointer.read("call.6")
        assert found is not None
        (mine if own else found).die("freed", "call.6")

    p.task("t1", caller)
    p.task("t2", caller)


def create_port(p: Program, *, reference: bool) -> None:
    lock, listed = p.lock("ports_lock"), p.cell("ports", False)
    port, uses = p.object("port"), p.counter("uses", 2 if reference else 1)
    kind = Cell(port, "type", 0)

    async def put(at: str) -> None:
        if await uses.dec_and_test(at):
            port.die("freed", at)

    async def create() -> None:
        await lock.acquire("create.1")
        await listed.write("create.2", True)
        await lock.release("create.3")
        await kind.write("create.4", 1)
        if reference:
            await put("create.5")

    async def delete() -> None:
        await lock.acquire("delete.1")
        found = await listed.read("delete.2")
        await listed.write("delete.3", False)
        await lock.release("delete.4")
        if found:
            await put("delete.5")

    p.task("create", create)
    p.task("delete", delete)


cve_2009_3547 = bind(pipe_open, look=False)
cve_2009_3547_fixed = bind(pipe_open, look=True)
cve_2011_2183 = bind(scan_list, look=False)
cve_2011_2183_fixed = bind(scan_list, look=True)
cve_2013_1792 = bind(keyrings, locked=False)
cve_2013_1792_fixed = bind(keyrings, locked=True)
cve_2015_7550 = bind(read_key, inside=False)
cve_2015_7550_fixed = bind(read_key, inside=True)
cve_2016_9806 = bind(shared_pointer, own=False, locked=True)
cve_2016_9806_fixed = bind(shared_pointer, own=True, locked=True)
cve_2017_6346 = bind(shared_pointer, own=False, locked=False)
cve_2017_6346_fixed = bind(shared_pointer, own=True, locked=False)
cve_2017_15265 = bind(create_port, reference=False)
cve_2017_15265_fixed = bind(create_port, reference=True)
