# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers: a counter that is raised in two locked steps, and a list of pools with an ABA problem.

Bug in `memcached`: two clients raise an item; the item is looked up and stored under the lock, but
the lock is given back in between, and one addition is lost. Depth 2: a client is held up in
between. Corrected: the lock is kept.

Bug in `apache_pools`: workers take memory pools from a list by compare and exchange of its head. A
worker that is held up after it read the head and its successor may find the head back in place and
the successor gone: it puts a pool on the list that somebody else has, and the next one gets it,
too. Depth 2. Corrected: the head carries a count of changes.

Source: bugs 8 and 10 of RADBench (Jalbert, Pereira, Pokam, Sen, "RADBench: A Concurrency Bug
Benchmark Suite", HotPar 2011), memcached 127 and Apache 44402. Our own reduction.
"""

from __future__ import annotations

from ksmtrio.sched import Program, bind


def increment(p: Program, *, keep_lock: bool) -> None:
    lock, item = p.lock("cache_lock"), p.cell("item", 0)

    async def client() -> None:
        await lock.acquire("incr.1")
        value = await item.read("incr.2")
        if not keep_lock:
            await lock.release("incr.3")
            await lock.acquire("incr.4")
        await item.write("incr.5", value + 1)
        await lock.release("incr.6")

    p.task("client0", client, like="client")
    p.task("client1", client, like="client")
    p.at_end(lambda: p.check(item.value == 2, "an increment got lost"))


def pools(p: Program, *, counted: bool) -> None:
    head = p.cell("head", (0, 0))
    following = [p.cell(f"pool{n}.next", n + 1 if n < 2 else None) for n in range(3)]
    users = [p.counter(f"pool{n}.users") for n in range(3)]

    async def take() -> int | None:
        while True:
            first, changes = await head.read("take.1")
            if first is None:
                return None
            second = await following[first].read("take.2")
            after = (second, changes + counted)
            if await head.cmpxchg("take.3", (first, changes), after):
                p.check(await users[first].inc("take.4") == 1, f"pool {first} has two users")
                return first

    async def give(pool: int) -> None:
        await users[pool].dec("give.1")
        while True:
            first, changes = await head.read("give.2")
            await following[pool].write("give.3", first)
            if await head.cmpxchg("give.4", (first, changes), (pool, changes + counted)):
                return

    async def taker() -> None:
        await take()
        await take()

    async def giver() -> None:
        pool = await take()
        await take()
        if pool is not None:
            await give(pool)

    p.task("taker", taker)
    p.task("giver", giver)


memcached = bind(increment, keep_lock=False)
memcached_fixed = bind(increment, keep_lock=True)
apache_pools = bind(pools, counted=False)
apache_pools_fixed = bind(pools, counted=True)
