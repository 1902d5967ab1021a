# SPDX-License-Identifier: GPL-2.0-or-later
"""Any small program: partial orders reach what brute force reaches, each class once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ksmtrio.locking.mutex import Mutex
from ksmtrio.sched.exploration.base import Settings
from ksmtrio.sched.exploration.dfs import Dfs
from ksmtrio.sched.exploration.dpor import Dpor
from ksmtrio.sched.hosts import HOSTS
from ksmtrio.sched.program import Build, IdealLock, Program
from tests.exploring_classes import brute_force, explore
from tests.exploring_programs import Plan, plans
from tests.exploring_programs import explore as explore_program

Op: TypeAlias = tuple[str, int, int]

on_each_host = pytest.mark.parametrize("host", HOSTS)
WORDS = ("read", "write", "copy", "cmpxchg", "add", "unless")
OTHERS = ("hold", "mutex", "choose", "sleep", "check")


class Task:
    """Carries out a list of operations; what it learns goes into what it writes."""

    def __init__(self, program: Program, number: int, ops: Sequence[Op], shared: Shared) -> None:
        self.program = program
        self.number = number
        self.ops = ops
        self.shared = shared
        self.learned = 0

    async def run(self) -> None:
        held: list[IdealLock] = []
        for place, (kind, which, value) in enumerate(self.ops):
            at = f"t{self.number}.{place}"
            lock = self.shared.locks[which]
            if kind != "hold":
                await self.operate(kind, which, value, at)
            elif lock not in held:
                await lock.acquire(at)
                held.append(lock)
        for lock in reversed(held):
            await lock.release(f"t{self.number}.9")
        self.program.words[f"learned{self.number}"].value = self.learned

    async def operate(self, kind: str, which: int, value: int, at: str) -> None:
        word, count, mutex = (
            self.shared.words[which],
            self.shared.counts[which],
            self.shared.mutexes[which],
        )
        answer = 0
        if kind == "read":
            answer = await word.read(at)
        elif kind == "write":
            await word.write(at, value)
        elif kind == "copy":
            await word.write(at, self.learned + value)
        elif kind == "cmpxchg":
            answer = await word.cmpxchg(at, 0, value + 1)
        elif kind == "add":
            await count.add(at, value)
        elif kind == "unless":
            answer = await count.inc_not_zero(at)
        elif kind == "mutex":
            await mutex.lock(at)
            await word.write(f"{at}#2", self.learned + 1)
            await mutex.unlock(f"{at}#3")
        elif kind == "choose":
            await word.write(at, self.program.choose(value + 1, at))
        elif kind == "sleep":
            await self.program.rt.sleep(at)
        else:
            answer = await word.read(at)
            self.program.check(answer != 1, "it is one", at)
        self.learned = 3 * self.learned + answer


class Shared:
    """What the tasks share."""

    def __init__(self, p: Program) -> None:
        self.words = [p.cell(name, 0) for name in "xy"]
        self.counts = [p.counter(name) for name in "mn"]
        self.locks = [p.lock(name) for name in ("k", "l")]
        self.mutexes = [Mutex(p.box, name) for name in ("v", "w")]


def program_of(tasks: Sequence[Sequence[Op]]) -> Build:
    def build(p: Program) -> None:
        shared = Shared(p)

        def body(number: int, ops: Sequence[Op]) -> Callable[[], Awaitable[None]]:
            p.cell(f"learned{number}", 0)
            return Task(p, number, ops, shared).run

        for number, ops in enumerate(tasks):
            p.task(f"t{number}", body(number, ops))

    return build


def programs(kinds: Sequence[str]) -> st.SearchStrategy[list[list[Op]]]:
    op = st.tuples(st.sampled_from(kinds), st.integers(0, 1), st.integers(0, 2))
    return st.lists(st.lists(op, min_size=1, max_size=3), min_size=2, max_size=3).filter(
        lambda tasks: sum(map(len, tasks)) <= 6
    )


@on_each_host
@settings(max_examples=12)
@given(programs(WORDS + OTHERS))
def test_final_states_and_findings_are_those_of_brute_force(
    host: str, tasks: list[list[Op]]
) -> None:
    build = program_of(tasks)
    every = brute_force(build)
    assume(every is not None)
    assert every is not None
    for mode in ("optimal", "source"):
        search = Dpor(Settings(mode=mode))
        space = explore(build, search, host=host)
        assert search.complete
        assert space.finals == every.finals
        assert space.findings == every.findings
        assert len(set(space.classes)) == len(space.classes)


@on_each_host
@settings(max_examples=12)
@given(programs((*WORDS, "hold", "mutex")))
def test_optimal_explores_each_class_once_and_none_in_vain(
    host: str, tasks: list[list[Op]]
) -> None:
    build = program_of(tasks)
    every = brute_force(build)
    assume(every is not None)
    assert every is not None
    search = Dpor(Settings())
    space = explore(build, search, host=host)
    assert set(space.classes) == set(every.classes)
    assert search.counts.executions == len(set(every.classes))
    assert not search.counts.redundant + search.counts.blocked


@on_each_host
@settings(max_examples=12)
@given(programs((*WORDS, "hold", "mutex", "sleep")), st.integers(0, 2))
def test_a_bound_misses_no_class_within_it(host: str, tasks: list[list[Op]], bound: int) -> None:
    build = program_of(tasks)
    within = brute_force(build, bound)
    assume(within is not None)
    assert within is not None
    search = Dpor(Settings(mode="source", bound=bound))
    space = explore(build, search, host=host)
    assert search.complete
    assert space.finals >= within.finals
    assert set(space.classes) >= set(within.classes)


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(0, 2))
def test_a_bound_covers_what_depth_first_search_does_with_the_same_number(
    plan: Plan, bound: int
) -> None:
    """That search counts early wake-ups and choices, too, so it executes no more than this one."""
    expected = explore_program(plan, Dfs(Settings(bound=bound)), most=1_500)
    assume(expected.done)
    search = Dpor(Settings(mode="source", bound=bound))
    seen = explore_program(plan, search)
    assert search.complete
    assert seen.finals >= expected.finals
    assert seen.findings >= expected.findings
