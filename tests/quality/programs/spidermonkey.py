# SPDX-License-Identifier: GPL-2.0-or-later
"""SpiderMonkey: a context leaves its thread, or is made, while another thread collects garbage.

Bug in `spidermonkey_1`: a thread clears its context's pointer to the thread outside of a request;
the collector has just seen that the pointer is set, and follows it. Depth 2: the collector is held
up between its look and its use. Corrected: the pointer is cleared under the lock of the collector.

Bug in `spidermonkey_2`: the collector switches off the property cache of each context of its thread
before, and on after its work; a context that is added in between is switched on without having been
off, and its count goes below zero. Depth 2: the collector is held up while it works. Corrected:
what was switched off is what is switched on.

Source: bugs 2 and 3 of RADBench (Jalbert, Pereira, Pokam, Sen, "RADBench: A Concurrency Bug
Benchmark Suite", HotPar 2011), Mozilla 476934 and 478336. Our own reduction to the words concerned.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def clear_thread(p: Program, *, locked: bool) -> None:
    lock, thread = p.lock("gc_lock"), p.cell("context.thread", 1)
    caches = p.cell("thread.caches", 1)

    async def clear() -> None:
        if locked:
            await lock.acquire("clear.1")
        await thread.write("clear.2", None)
        if locked:
            await lock.release("clear.3")

    async def collect() -> None:
        await lock.acquire("gc.1")
        if await thread.read("gc.2") is not None:
            p.check(await thread.read("gc.3") is not None, "NULL is followed to a thread")
            await caches.write("gc.4", 0)
        await lock.release("gc.5")

    p.task("clear", clear)
    p.task("gc", collect)


def toggle_caches(p: Program, *, remember: bool) -> None:
    lock, nr_contexts = p.lock("gc_lock"), p.cell("contexts", 1)
    disabled = [p.counter(f"context{number}.cache_disabled") for number in range(2)]

    async def collect() -> None:
        await lock.acquire("gc.1")
        off = await nr_contexts.read("gc.2")
        await lock.release("gc.3")
        for cache in disabled[:off]:
            await cache.inc("gc.4")
        await lock.acquire("gc.5")
        on = off if remember else await nr_contexts.read("gc.6")
        await lock.release("gc.7")
        for cache in disabled[:on]:
            p.check(await cache.dec("gc.8") >= 0, "a property cache is less than not disabled")

    async def create() -> None:
        await lock.acquire("new.1")
        await nr_contexts.write("new.3", await nr_contexts.read("new.2") + 1)
        await lock.release("new.4")

    p.task("gc", collect)
    p.task("new_context", create)


spidermonkey_1 = bind(clear_thread, locked=False)
spidermonkey_1_fixed = bind(clear_thread, locked=True)
spidermonkey_2 = bind(toggle_caches, remember=False)
spidermonkey_2_fixed = bind(toggle_caches, remember=True)
