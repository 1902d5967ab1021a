# SPDX-License-Identifier: GPL-2.0-or-later
"""Small programs that several groups of tests run: one that uses everything, and known bugs.

As a script (`python -m tests.programs STRATEGY SEED [plugins] [bystanders]`) it runs the busy
program and prints what came of it, for comparison across processes.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import trio

from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.cell import Cell, Counter, Flags
from ksmtrio.sched.strategies import build, resolve
from tests.harness import World, execute

FAULTS = ("alloc",)


def busy(world: World) -> None:
    """Four actors that use every lock, cells, all three streams, sleeps and yields; no deadlock."""
    rt, box = world.rt, world.box
    mutex, sem, spin = Mutex(box, "mutex"), RwSem(box, "rwsem"), SpinLock(box, "spinlock")
    page = BitLock(box, "page_lock", Flags(box, "flags", 0, {1: "locked"}), 1)
    total, ready = Counter(box, "total", 0), Cell(box, "ready", value=False)
    queue = WaitQueue(box, "wait")

    async def scanner() -> None:
        for _ in range(2):
            await mutex.lock("scan.1")
            world.enter()
            await sem.down_read("scan.2")
            world.note(f"takes {rt.choose(3, 'scan.3')}")
            await total.add("scan.3", 1)
            await sem.up_read("scan.4")
            world.leave()
            await mutex.unlock("scan.5")
            await rt.yield_("scan.6")

    async def writer() -> None:
        await sem.down_write("write.1")
        world.note("fails" if rt.fault("alloc", "write.2") else "works")
        await spin.lock("write.3")
        await total.add("write.4", 10)
        spin.unlock("write.4")
        await sem.up_write("write.5")
        await ready.write("write.6", value=True)
        await queue.wake_up("write.7")

    async def migrator() -> None:
        if not await page.trylock("move.1"):
            await page.lock("move.2")
        await mutex.lock("move.3")
        world.enter()
        await rt.sleep("move.4")
        await total.write("move.6", await total.read("move.5") + 100)
        world.leave()
        await mutex.unlock("move.7")
        await page.unlock("move.8")

    async def daemon() -> None:
        await queue.wait_event("daemon.1", lambda: ready.value, idle=True)
        await page.lock("daemon.2")
        world.note(f"sees {await total.read('daemon.3')}")
        await page.unlock("daemon.4")

    world.actor("scanner", scanner)
    world.actor("writer", writer)
    world.actor("migrator", migrator)
    world.actor("daemon", daemon, background=True)
    world.log.append(total)


def outcome(world: World) -> dict[str, Any]:
    """Return all that an execution of `busy` came to, as plain data."""
    rt, choices = world.rt, world.rt.choices
    return {
        "choices": [choices.schedule, choices.data, choices.faults],
        "log": world.log[1:],
        "total": world.log[0].value,
        "points": rt.points,
        "jiffies": rt.clock.jiffies,
        "splats": [[splat.kind, splat.at, splat.message] for splat in world.splats],
        "actors": [[a.name, a.state.value, a.at] for a in rt.actors],
        "stop": rt.stop_reason,
    }


def lost_update(world: World) -> None:
    """A bug of depth 2: two actors add to a word in two steps each; an update may get lost."""
    word = Cell(world.box, "word", 0)

    async def body() -> None:
        await word.write("f.2", await word.read("f.1") + 1)
        await world.rt.cond_resched("f.3")

    world.actor("a", body)
    world.actor("b", body)
    world.log.append(word)


def lost_update_hit(world: World) -> bool:
    """Whether the lost update happened."""
    return bool(world.log[0].value == 1)


def torn_look(world: World) -> None:
    """A bug of depth 3: `b` looks twice and must see 1, then 2, which `a` writes."""
    word = Cell(world.box, "word", 0)

    async def counts() -> None:
        for value in (1, 2):
            await word.write("a.1", value)

    async def looks() -> None:
        for _ in range(2):
            world.log.append(await word.read("b.1"))

    world.actor("a", counts)
    world.actor("b", looks)


def torn_look_hit(world: World) -> bool:
    """Whether the two looks fell into the one bad place."""
    return world.log == [1, 2]


async def _shuffled() -> bool:
    """Whether trio itself runs equal tasks in varying order here."""
    orders = set()
    for _ in range(64):
        order: list[int] = []

        async def step(number: int, order: list[int] = order) -> None:
            order.append(number)
            await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(step, 0)
            nursery.start_soon(step, 1)
        orders.add(tuple(order))
    return len(orders) > 1


async def _bystander() -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def _main(strategy: str, seed: int, *, bystanders: bool) -> list[Any]:
    spec = resolve(strategy, seed, points=30)
    async with trio.open_nursery() as nursery:
        for _ in range(4 if bystanders else 0):
            nursery.start_soon(_bystander)
        worlds = [await execute(busy, build(spec), faults=FAULTS) for _ in range(2)]
        shuffled = await _shuffled()
        nursery.cancel_scope.cancel()
    return [shuffled, *map(outcome, worlds)]


def main(argv: list[str]) -> None:
    """Run as a script."""
    if "plugins" in argv:
        for plugin in ("hypothesis", "pytest_trio.plugin"):
            importlib.import_module(plugin)
    result = trio.run(lambda: _main(argv[0], int(argv[1]), bystanders="bystanders" in argv))
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
