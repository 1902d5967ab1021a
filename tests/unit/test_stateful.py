# SPDX-License-Identifier: GPL-2.0-or-later
"""`stateful`: what it covers, what it claims, and going on from a saved state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Covered, Settings
from ksmtrio.sched.exploration.dfs import Dfs
from ksmtrio.sched.exploration.stateful import PLAIN, Stateful
from ksmtrio.sched.program import Program
from tests.exploring_programs import explore, step


def setters(p: Program, count: int = 3, *, locked: bool = False) -> None:
    """Setters write a, then b; a checker must see none or both of it, and does only if locked."""
    a, b, lock = p.cell("a", 0), p.cell("b", 0), p.lock("lock")

    async def setter() -> None:
        if locked:
            await lock.acquire("s.1")
        await a.write("s.2", 1)
        await b.write("s.3", 1)
        if locked:
            await lock.release("s.4")

    async def checker() -> None:
        if locked:
            await lock.acquire("c.1")
        seen = await a.read("c.2"), await b.read("c.3")
        if locked:
            await lock.release("c.4")
        p.check(seen in {(0, 0), (1, 1)}, "half done")

    for number in range(count):
        p.task(f"setter{number}", setter, like="setter")
    p.task("checker", checker)


def few(p: Program) -> None:
    setters(p, 2)


def many_locked(p: Program) -> None:
    setters(p, 20, locked=True)


def many_unlocked(p: Program) -> None:
    setters(p, 20)


def chancy(p: Program) -> None:
    """Choices inside of transitions that others see."""
    word = p.cell("word", 0)

    async def body() -> None:
        await word.write("f.1", await word.read("f.2") + p.choose(3, "f.3"))

    p.task("a", body)
    p.task("b", body)


def test_identical_tasks_under_one_lock_take_executions_in_proportion() -> None:
    explorer = Stateful(Settings())
    explored = explore(many_locked, explorer)
    assert explorer.complete
    assert explored.findings == set()
    assert explored.executions <= 2 * 21


def test_bug_among_many_identical_tasks_is_found_at_once() -> None:
    explored = explore(many_unlocked, Stateful(Settings()), most=10)
    assert explored.findings == {"bugs:assertion@c.3"}


@pytest.mark.parametrize("bound", [None, 0, 1, 2])
def test_all_outcomes_of_choices_are_tried(bound: int | None) -> None:
    expected = explore(chancy, Dfs(Settings(bound=bound)))
    assert explore(chancy, Stateful(Settings(bound=bound))).finals == expected.finals


def test_no_state_is_entered_for_nothing_where_nothing_is_shared() -> None:
    def apart(p: Program) -> None:
        words = [p.cell(f"w{number}", 0) for number in range(4)]

        def body(number: int) -> Any:
            async def run() -> None:
                for value in range(3):
                    await words[number].write("f.1", value)

            return run

        for number in range(4):
            p.task(f"t{number}", body(number))

    explorer = Stateful(Settings())
    assert explore(apart, explorer).executions == 1
    assert explorer.complete


def test_statement_tells_a_bound_that_cut_from_one_that_did_not() -> None:
    explorer = Stateful(Settings(bound=1))
    explore(setters, explorer)
    assert explorer.covered() == Covered(1, "all states reached with at most 1 preemption")
    explorer = Stateful(Settings(bound=20))
    explore(setters, explorer)
    assert explorer.covered() == Covered(0, "all states")


def test_search_without_memory_stops_and_says_so() -> None:
    explorer = Stateful(Settings(memory=0))
    explored = explore(setters, explorer)
    assert explored.executions == 1
    assert not explorer.complete
    assert "the memory of 0 MB is used up" in explorer.covered().text


@pytest.mark.parametrize("bound", [None, 1])
@pytest.mark.parametrize("program", [few, chancy])
def test_search_goes_on_from_a_saved_state_after_every_execution(program, bound) -> None:
    settings = Settings(bound=bound, mode=PLAIN)
    whole = Stateful(settings)
    expected = explore(program, whole)
    finals, findings = set(), set()
    state = None
    while True:
        explorer = Stateful(settings)
        if state is not None:
            explorer.load(json.loads(json.dumps(state)))
        strategy = explorer.next()
        if strategy is None:
            break
        outcome = step(program, explorer, strategy)
        findings.update(outcome.signatures())
        if outcome.stop_reason == "done":
            finals.add(outcome.machine_digest)
        state = explorer.save()
    assert explorer.complete
    assert explorer.counts == whole.counts
    assert (finals, findings) == (expected.finals, expected.findings)


def test_parts_of_a_split_search_cover_what_the_whole_does() -> None:
    settings = Settings(bound=2)
    expected = explore(setters, Stateful(settings))
    first = Stateful(settings)
    finals = explore(setters, first, most=5).finals
    findings = set()
    parts = [first]
    for state in first.split(2):
        parts.append(Stateful(settings))
        parts[-1].load(json.loads(json.dumps(state)))
    assert len(parts) == 3
    for part in parts:
        explored = explore(setters, part)
        assert part.complete
        finals |= explored.finals
        findings |= explored.findings
    assert (finals, findings) == (expected.finals, expected.findings)


def test_search_without_a_bound_gives_nothing_away() -> None:
    explorer = Stateful(Settings())
    explore(setters, explorer, most=5)
    assert explorer.split(2) == []


@pytest.mark.parametrize(
    "spoil",
    [
        {"states": "no hash"},
        {"todo": [[99, 0, [[0, 0]], [], 0, False]]},
        {"more": 1},
    ],
)
def test_foreign_state_is_bad_input(spoil: dict[str, Any]) -> None:
    state = Stateful(Settings()).save()
    with pytest.raises(BadInput, match="not a state of stateful"):
        Stateful(Settings()).load({**state, **spoil})
