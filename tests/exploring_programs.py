# SPDX-License-Identifier: GPL-2.0-or-later
"""Explorers on programs: random small ones as data, and what an exploration of one came to.

Tests: by use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from hypothesis import strategies as st

from ksmtrio.execution import Outcome, run_subject
from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.exploration.base import Explorer
from ksmtrio.sched.program import Build, Program

Op = tuple[str, int]
Body = Callable[[], Awaitable[None]]

NR_WORDS = 2


@attrs.frozen
class Given:
    """A program that is at hand, for what otherwise takes the name of a file."""

    build_it: Build
    name: str = "given"

    def build(self) -> Build:
        """Return it."""
        return self.build_it


@attrs.define
class Explored:
    """What an exploration came to.

    Attributes:
        finals: final states of the executions that came to an end; not of those that a finding cut
            short: what the others had done by then is not told apart.
        findings: signatures.
        lengths: schedule points of all executions.
        done: no work is left.
    """

    finals: set[str | None] = attrs.field(factory=set)
    findings: set[str] = attrs.field(factory=set)
    executions: int = 0
    done: bool = False


def explore(
    build: Build, explorer: Explorer, *, most: int = 20_000, host: str = "bare"
) -> Explored:
    """Run an exploration of a program to its end, or for `most` executions."""
    return explore_subject(Given(build), explorer, most=most, host=host)


def explore_subject(
    subject: Any, explorer: Explorer, *, most: int = 20_000, host: str = "bare"
) -> Explored:
    """Run an exploration to its end, or for `most` executions."""
    explored = Explored()
    while explored.executions < most:
        strategy = explorer.next()
        if strategy is None:
            explored.done = True
            break
        outcome = step_subject(subject, explorer, strategy, host)
        explored.executions += 1
        explored.findings.update(outcome.signatures())
        if outcome.stop_reason == "done":
            explored.finals.add(outcome.machine_digest)
    return explored


def step(build: Build, explorer: Explorer, strategy: Any) -> Outcome:
    """Make one execution of an exploration of a program."""
    return step_subject(Given(build), explorer, strategy)


def step_subject(subject: Any, explorer: Explorer, strategy: Any, host: str = "bare") -> Outcome:
    """Make one execution of an exploration."""
    outcome = run_subject(
        subject, strategy, recorder=explorer.taps(), exact=False, final=True, host=host
    )
    explorer.learn(outcome.stop_reason)
    return outcome


# -- random programs -------------------------------------------------------------------------------

PLAIN_OPS = ("read", "write", "swap", "add", "cmpxchg", "flag", "choose", "note", "odd", "check")
PAUSES = ("yield", "sleep", "resched")
SECTIONS = ("ideal", "mutex", "reader", "writer", "spin", "bit", "rcu")


@attrs.frozen
class Plan:
    """A random program: the operations of each task; tasks with equal ones are of one class."""

    tasks: tuple[tuple[Op, ...], ...]
    alike: bool

    def __call__(self, p: Program) -> None:
        """Describe one execution."""
        words = [p.cell(f"w{number}", 0) for number in range(NR_WORDS)]
        tools = _Tools(p, words)
        for number, operations in enumerate(self.tasks):
            like = str(self.tasks.index(operations)) if self.alike else None
            p.task(f"t{number}", tools.body(operations), like=like)


class _Tools:
    """Words and locks of one execution, and the bodies that use them."""

    def __init__(self, p: Program, words: list[Any]) -> None:
        self.p = p
        self.words = words
        self.count = p.counter("count")
        self.flags = p.flags("flags", {1: "one", 2: "two"})
        self.ideal = p.lock("ideal")
        self.mutex = Mutex(p.box, "mutex")
        self.sem = RwSem(p.box, "sem")
        self.spin = SpinLock(p.box, "spin")
        self.queue = WaitQueue(p.box, "queue")
        self.bit = BitLock(p.box, "bit", p.flags("lock_word", {1: "locked"}), 1)

    def body(self, operations: tuple[Op, ...]) -> Body:
        """Return a task that carries out the operations with one variable of its own."""

        async def run() -> None:
            mine = 0
            closing: list[str] = []
            skip = False
            for number, (name, argument) in enumerate(operations):
                if skip:
                    skip = False
                    continue
                at = f"f.{number + 1}"
                if name in SECTIONS:
                    if name not in closing:
                        await self.enter(name, at)
                        closing.append(name)
                elif name == "leave":
                    if closing:
                        await self.leave(closing.pop(), at)
                elif name == "odd":
                    skip = mine % 2 == 1
                else:
                    mine = await self.do(name, argument, mine, at)
            while closing:
                await self.leave(closing.pop(), "f.99")

        return run

    async def do(self, name: str, argument: int, mine: int, at: str) -> int:
        """Carry out one operation; return the new value of the task's variable."""
        p, word = self.p, self.words[argument % NR_WORDS]
        if name == "read":
            return int(await word.read(at))
        if name == "write":
            await word.write(at, argument)
        elif name == "swap":
            await word.write(at, mine + 1)
        elif name == "add":
            return await self.count.add(at, 1)
        elif name == "cmpxchg":
            return int(await word.cmpxchg(at, mine, argument))
        elif name == "flag":
            return int(await self.flags.test_and_set(at, 1 + argument % 2))
        elif name == "choose":
            await p.rt.cond_resched(at)
            return p.choose(2, at)
        elif name == "note":
            await p.rt.cond_resched(at)
            p.note(str(mine))
        elif name == "check":
            p.check(mine < 2, f"{mine} is too much")
        elif name == "wait":
            await self.queue.wait_event(at, lambda: word.value != 0, idle=False)
        elif name == "wake":
            await self.queue.wake_up(at)
        else:
            await self.pause(name, at)
        return mine

    async def pause(self, name: str, at: str) -> None:
        """Give way in one manner or another; RCU and spinlocks do not allow it, that is noticed."""
        rt = self.p.rt
        await {"yield": rt.yield_, "sleep": rt.sleep, "resched": rt.cond_resched}[name](at)

    async def enter(self, name: str, at: str) -> None:
        """Take a lock."""
        if name == "rcu":
            rcu_read_lock(self.p.rt)
            return
        take: dict[str, Callable[[str], Awaitable[None]]] = {
            "ideal": self.ideal.acquire,
            "mutex": self.mutex.lock,
            "reader": self.sem.down_read,
            "writer": self.sem.down_write,
            "spin": self.spin.lock,
            "bit": self.bit.lock,
        }
        await take[name](at)

    async def leave(self, name: str, at: str) -> None:
        """Release a lock."""
        if name == "rcu":
            rcu_read_unlock(self.p.rt)
        elif name == "spin":
            self.spin.unlock(at)
        else:
            release: dict[str, Callable[[str], Awaitable[None]]] = {
                "ideal": self.ideal.release,
                "mutex": self.mutex.unlock,
                "reader": self.sem.up_read,
                "writer": self.sem.up_write,
                "bit": self.bit.unlock,
            }
            await release[name](at)


def plans(*, tasks: int = 3, operations: int = 4) -> st.SearchStrategy[Plan]:
    """Return small random programs; half of them have tasks that are alike."""
    names = (*PLAIN_OPS, *PAUSES, *SECTIONS, "leave", "wait", "wake")
    operation = st.tuples(st.sampled_from(names), st.integers(0, 3))
    body = st.lists(operation, max_size=operations).map(tuple)
    different = st.lists(body, min_size=2, max_size=tasks).map(tuple)
    same = st.tuples(body, body).map(lambda two: (two[0],) * (tasks - 1) + (two[1],))
    return st.builds(Plan, st.one_of(different, same), st.booleans())
