# SPDX-License-Identifier: GPL-2.0-or-later
"""Small servers and libraries: a torn log, a queue freed too early, a string that got shorter.

Bug in `aget`: what each download thread has written, and the sum, are saved by a signal handler one
after the other; a thread that writes in between makes them differ. Depth 2: the handler is held up.
Corrected: both are saved, and changed, under one lock.

Bug in `pbzip2`: the main thread waits for the output, then frees the queue; a consumer that is slow
still has to release the queue's lock. Depth 2: the consumer is held up before that. Corrected: the
main thread waits for the consumers, too.

Bug in `stringbuffer`: a string is appended by its length, then by its characters, each under its
lock; it gets shorter in between. Depth 3: the appender is held up, and the changer while it is
short. Corrected: one lock for both.

Source: aget-bug2, pbzip2-0.9.4 and stringbuffer-jdk1.4 of SCTBench (Thomson, Donaldson, Betts,
"Concurrency Testing Using Controlled Schedulers: An Empirical Study", TOPC 2016), the last one from
Flanagan, Qadeer, "A Type and Effect System for Atomicity", PLDI 2003. Our own reduction.
"""

from __future__ import annotations

from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched import Cell, Program, bind


def save_log(p: Program, *, locked: bool) -> None:
    lock, offset, total = p.lock("lock"), p.cell("offset", 0), p.counter("written")

    async def download() -> None:
        for _ in range(2):
            if locked:
                await lock.acquire("get.1")
            await offset.write("get.3", await offset.read("get.2") + 1)
            await total.add("get.4", 1)
            if locked:
                await lock.release("get.5")

    async def handler() -> None:
        if locked:
            await lock.acquire("save.1")
        saved = (await offset.read("save.2"), await total.read("save.3"))
        if locked:
            await lock.release("save.4")
        p.check(saved[0] == saved[1], f"saved offsets and sum differ: {saved}")

    p.task("download", download)
    p.task("handler", handler)


def free_queue(p: Program, *, wait_for_all: bool) -> None:
    fifo = p.object("fifo")
    mutex, output = Cell(fifo, "mutex", 0), p.cell("output_done", False)
    left, joined = p.counter("consumers", 1), WaitQueue(p.box, "joined")

    async def consumer() -> None:
        await mutex.cmpxchg("consume.1", 0, 1)
        await output.write("consume.2", True)
        await joined.wake_up("consume.3")
        await mutex.write("consume.4", 0)
        await left.dec("consume.5")
        await joined.wake_up("consume.6")

    def may_free() -> bool:
        return output.value and not (wait_for_all and left.value)

    async def main() -> None:
        await joined.wait_event("main.1", may_free, idle=False)
        fifo.die("freed", "main.1")

    p.task("main", main)
    p.task("consumer", consumer)


def append(p: Program, *, one_lock: bool) -> None:
    lock, text = p.lock("lock"), p.cell("text", "abc")

    async def appender() -> None:
        await lock.acquire("append.1")
        length = len(await text.read("append.2"))
        if not one_lock:
            await lock.release("append.3")
            await lock.acquire("append.4")
        count = len(await text.read("append.5"))
        await lock.release("append.6")
        p.check(length <= count, f"characters 0 to {length} of a string of {count} are copied")

    async def changer() -> None:
        await lock.acquire("change.1")
        await text.write("change.2", "")
        await lock.release("change.3")
        await lock.acquire("change.4")
        await text.write("change.5", "abc")
        await lock.release("change.6")

    p.task("appender", appender)
    p.task("changer", changer)


aget = bind(save_log, locked=False)
aget_fixed = bind(save_log, locked=True)
pbzip2 = bind(free_queue, wait_for_all=False)
pbzip2_fixed = bind(free_queue, wait_for_all=True)
stringbuffer = bind(append, one_lock=False)
stringbuffer_fixed = bind(append, one_lock=True)
