# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploration by partial orders: the counts of its papers, choices, locks, early ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from ksmtrio.errors import BadInput
from ksmtrio.execution import run_subject
from ksmtrio.kconfig import build_kernel
from ksmtrio.locking.mutex import Mutex
from ksmtrio.scenario.load import load_scenario
from ksmtrio.sched.exploration.base import Settings
from ksmtrio.sched.exploration.dpor import Dpor
from ksmtrio.sched.exploration.registry import make_explorer
from ksmtrio.sched.program import Build, Program
from ksmtrio.subject import KernelSubject
from tests.exploring_classes import brute_force, explore
from tests.quality.catalogue import Entry, catalogue

SOURCE = Settings(mode="source")
LONG = {entry.name for entry in catalogue().values() if (entry.executions or 0) > 600}
LONG |= {"indexer_14", "filesystem_18", "filesystem_19"}
COUNTED = [
    pytest.param(entry, marks=pytest.mark.slow if entry.name in LONG else (), id=entry.name)
    for entry in catalogue().values()
    if entry.executions
]


def program(name: str) -> Build:
    return catalogue()[name].subject().build()


@pytest.mark.parametrize("entry", COUNTED)
def test_optimal_explores_each_class_once_and_nothing_in_vain(entry: Entry) -> None:
    search = Dpor(Settings())
    space = explore(entry.subject().build(), search)
    assert search.complete
    assert search.counts.executions == space.executions == entry.executions
    assert search.counts.redundant == search.counts.blocked == 0
    assert len(set(space.classes)) == len(space.classes)


@pytest.mark.parametrize("entry", [e for e in COUNTED if e.id != "lastzero_15"])
def test_source_sets_explore_each_class_and_little_in_vain(entry: Entry) -> None:
    search = Dpor(SOURCE)
    space = explore(entry.subject().build(), search)
    assert search.complete
    assert search.counts.executions == len(set(space.classes)) == entry.executions
    assert space.executions <= (entry.source_sets or entry.executions)


def ticket(order: list[str]) -> Callable[[Program], None]:
    """Two tasks take two ideal locks in the given orders."""

    def build(p: Program) -> None:
        locks = {name: p.lock(name) for name in "ab"}

        def body(names: str) -> Callable[[], Awaitable[None]]:
            async def run() -> None:
                for name in names:
                    await locks[name].acquire(f"{names}.1")
                for name in names:
                    await locks[name].release(f"{names}.2")

            return run

        for number, names in enumerate(order):
            p.task(f"t{number}", body(names))

    return build


def choosers(p: Program) -> None:
    """A task writes what it chose, in one event with a second choice after the first; one reads."""
    word = p.cell("word", 0)

    async def chooser() -> None:
        await word.write("c.1", p.choose(3, "c.1"))
        if p.choose(2, "c.2"):
            await word.write("c.3", 10 + p.choose(2, "c.3"))

    async def reader() -> None:
        p.note(str(await word.read("r.1")))

    p.task("c", chooser)
    p.task("r", reader)


def kernel_locks(p: Program) -> None:
    """Two tasks that need two mutexes in opposite orders, and a bystander that wants one."""
    one, two = Mutex(p.box, "one"), Mutex(p.box, "two")

    def body(first: Mutex, second: Mutex) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await first.lock("f.1")
            await second.lock("f.2")
            await second.unlock("f.3")
            await first.unlock("f.4")

        return run

    p.task("a", body(one, two))
    p.task("b", body(two, one))


def early_end(p: Program) -> None:
    """A check fails, unless a write comes first; one that comes later fails another check."""
    word = p.cell("word", 0)

    async def checker() -> None:
        p.check(await word.read("c.1") != 0, "not yet", at="c.1")
        p.check(await word.read("c.2") != 2, "too late", at="c.2")

    async def writer() -> None:
        await word.write("w.1", 1)
        await word.write("w.2", 2)

    p.task("c", checker)
    p.task("w", writer)


BUILDS = [ticket(["ab", "ba"]), ticket(["ab", "ab"]), choosers, kernel_locks, early_end]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("settings", [Settings(), SOURCE])
def test_findings_and_final_states_are_those_of_brute_force(
    build: Build, settings: Settings
) -> None:
    every = brute_force(build)
    assert every is not None
    search = Dpor(settings)
    space = explore(build, search)
    assert search.complete
    assert space.finals == every.finals
    assert space.findings == every.findings


def test_both_kinds_of_early_end_are_found() -> None:
    assert explore(early_end, Dpor(Settings())).findings == {
        ("assertion", "c.1"),
        ("assertion", "c.2"),
    }


def test_no_more_than_an_execution_for_each_order_of_lock_holders() -> None:
    search = Dpor(Settings())
    explore(ticket(["ab", "ab"]), search)
    assert search.counts.executions == 2
    assert not search.counts.redundant + search.counts.blocked


@pytest.mark.parametrize("settings", [Settings(), SOURCE, Settings(mode="source", bound=1)])
@pytest.mark.parametrize("build", BUILDS)
def test_a_saved_search_goes_on_where_it_was(build: Build, settings: Settings) -> None:
    whole = Dpor(settings)
    wanted = explore(build, whole)
    seen = 0
    search = Dpor(settings)
    finals: set[str] = set()
    for _ in range(wanted.executions + 1):
        part = explore(build, search, until=1)
        seen += part.executions
        finals |= part.finals
        state = msgspec.json.decode(msgspec.json.encode(search.save()))
        search = Dpor(settings)
        search.load(state)
    assert seen == wanted.executions
    assert finals == wanted.finals
    assert search.counts == whole.counts
    assert search.complete


def test_what_is_no_saved_state_is_refused() -> None:
    with pytest.raises(BadInput, match="no saved state"):
        Dpor(Settings()).load({"names": 3})
    state = Dpor(Settings()).save()
    state["nodes"] *= 2
    with pytest.raises(BadInput, match="gaps"):
        Dpor(Settings()).load(state)


@pytest.mark.parametrize("bound", [0, 1, 2])
@pytest.mark.parametrize("name", ["lost_update_3", "reorder_2_setters"])
def test_a_bound_misses_nothing_within_it(name: str, bound: int) -> None:
    build = program(name)
    within = brute_force(build, bound)
    assert within is not None
    search = Dpor(Settings(mode="source", bound=bound))
    space = explore(build, search)
    assert search.complete
    assert set(space.classes) >= set(within.classes)
    assert space.finals >= within.finals
    switches = "1 switch" if bound == 1 else f"{bound} switches"
    assert f"at most {switches} away from an actor that could go on" in search.covered().text


def test_the_optimal_mode_takes_no_bound() -> None:
    with pytest.raises(BadInput, match="no preemption bound"):
        make_explorer("dpor", Settings(bound=2))


def test_without_memory_for_plans_it_does_not_say_complete() -> None:
    search = Dpor(Settings(memory=0))
    explore(program("lost_update_3"), search)
    assert search.next() is None
    assert not search.complete
    assert "for want of memory" in search.covered().text


def test_an_unfinished_search_tells_what_is_left() -> None:
    search = Dpor(Settings())
    assert search.work_left() == 1
    explore(program("lost_update_3"), search, until=1)
    assert search.work_left() > 0
    assert not search.complete
    assert "planned executions are left" in search.covered().text
    assert search.split(2) == []


def test_plans_for_a_kernel_can_be_followed() -> None:
    """The machine is brought to rest after the end: that is no event to be moved."""
    subject = KernelSubject(load_scenario("mbind_vs_ksmd_tiny"), build_kernel("v2.6.33"))
    search = Dpor(Settings())
    for _ in range(12):
        strategy = search.next()
        assert strategy is not None
        outcome = run_subject(subject, strategy, recorder=search.taps(), host="bare")
        search.learn(outcome.stop_reason)
    assert search.counts.executions == 12
