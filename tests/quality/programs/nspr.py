# SPDX-License-Identifier: GPL-2.0-or-later
"""NSPR: a lock made twice, an interrupt that nobody hears, a reader that waits for itself.

Bug in `nspr_1`: two threads find that the lock of localtime does not exist, and each makes one;
both are in the critical section. Depth 3: one is held up after its look, the other one in the
critical section. Corrected: the lock is made under another one, which always exists.

Bug in `nspr_2`: a thread that is about to wait looks whether it was interrupted, then says what it
waits for; an interrupt in between finds nobody to wake, and the thread waits for ever. Depth 2: the
waiter is held up after its look. Corrected: it looks once more after it said so.

Bug in `nspr_3`: a reader takes its read lock a second time while a writer waits, and readers queue
behind writers. Depth 2: the reader is held up between its locks. Corrected: it takes the lock once.

Source: bugs 4, 5 and 6 of RADBench (Jalbert, Pereira, Pokam, Sen, "RADBench: A Concurrency Bug
Benchmark Suite", HotPar 2011), Mozilla 354593, 165586 and 526805. Our own reduction.
"""

from __future__ import annotations

from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched import Program, bind


def lazy_lock(p: Program, *, guarded: bool) -> None:
    locks = [p.lock("monitor0"), p.lock("monitor1")]
    making = p.lock("making")
    monitor, made = p.cell("monitor", None), p.counter("made")
    inside = p.counter("inside")

    async def make() -> None:
        if await monitor.read("make.1") is None:
            number = await made.inc("make.2") - 1
            await monitor.write("make.3", number)

    async def local_time() -> None:
        if guarded:
            await making.acquire("localtime.1")
        await make()
        if guarded:
            await making.release("localtime.2")
        lock = locks[await monitor.read("localtime.3")]
        await lock.acquire("localtime.4")
        p.check(await inside.inc("localtime.5") == 1, "two are in the critical section")
        await inside.dec("localtime.6")
        await lock.release("localtime.7")

    p.task("t1", local_time, like="caller")
    p.task("t2", local_time, like="caller")


def interrupt(p: Program, *, look_again: bool) -> None:
    interrupted, waits_for = p.cell("interrupted", False), p.cell("waits_for", None)
    woken, queue = p.cell("woken", False), WaitQueue(p.box, "condition")

    async def wait() -> None:
        if await interrupted.read("wait.1"):
            return
        await waits_for.write("wait.2", "condition")
        if look_again and await interrupted.read("wait.3"):
            return
        await queue.wait_event("wait.4", lambda: woken.value, idle=False)

    async def interrupter() -> None:
        await interrupted.write("interrupt.1", True)
        if await waits_for.read("interrupt.2") is not None:
            await woken.write("interrupt.3", True)
            await queue.wake_up("interrupt.4")

    p.task("waiter", wait)
    p.task("interrupter", interrupter)


def recursive_reader(p: Program, times: int) -> None:
    lock, queue = p.lock("lock"), WaitQueue(p.box, "rwlock")
    readers, waiting = p.cell("readers", 0), p.cell("writers_waiting", 0)

    async def read_lock() -> None:
        await lock.acquire("rlock.1")
        while await waiting.read("rlock.2"):
            await lock.release("rlock.3")
            await queue.wait_event("rlock.4", lambda: not waiting.value, idle=False)
            await lock.acquire("rlock.5")
        await readers.write("rlock.7", await readers.read("rlock.6") + 1)
        await lock.release("rlock.8")

    async def read_unlock() -> None:
        await lock.acquire("runlock.1")
        await readers.write("runlock.3", await readers.read("runlock.2") - 1)
        await lock.release("runlock.4")
        await queue.wake_up("runlock.5")

    async def write() -> None:
        await lock.acquire("wlock.1")
        while await readers.read("wlock.2"):
            await waiting.write("wlock.3", 1)
            await lock.release("wlock.4")
            await queue.wait_event("wlock.5", lambda: not readers.value, idle=False)
            await lock.acquire("wlock.6")
        await waiting.write("wlock.7", 0)
        await lock.release("wlock.8")
        await queue.wake_up("wlock.9")

    async def read() -> None:
        for _ in range(times):
            await read_lock()
        for _ in range(times):
            await read_unlock()

    p.task("reader", read)
    p.task("writer", write)


nspr_1 = bind(lazy_lock, guarded=False)
nspr_1_fixed = bind(lazy_lock, guarded=True)
nspr_2 = bind(interrupt, look_again=False)
nspr_2_fixed = bind(interrupt, look_again=True)
nspr_3 = bind(recursive_reader, 2)
nspr_3_fixed = bind(recursive_reader, 1)
