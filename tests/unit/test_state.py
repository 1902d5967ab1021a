# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.state`: equal states have equal hashes, whatever led to them; others have not."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from ksmtrio.errors import EmulatorError
from ksmtrio.execution import run_subject
from ksmtrio.locking.mutex import Mutex
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.program import Program
from ksmtrio.sched.state import StateHash, Terms, text_of
from ksmtrio.sched.strategies.replay import Replay
from tests.exploring_programs import Given
from tests.harness import alone


class Looking(Replay):
    """Follows a list of choices and hashes the state before the one after them."""

    def __init__(self, schedule: Sequence[int], states: StateHash) -> None:
        super().__init__(Choices(schedule=list(schedule)), exact=False)
        self._states = states
        self._left = len(schedule)
        self.seen = 0

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Look once the list is used up."""
        if self._left == 0:
            self.seen = self._states.machine()
        self._left -= 1
        return super().pick(enabled, current)


def state_after(build, schedule: Sequence[int], *, symmetry: bool = False) -> int:
    """Return the hash of the state that a schedule leads to."""
    states = StateHash(Terms(), symmetry=symmetry)
    looking = Looking(schedule, states)
    subject: Any = Given(build)
    run_subject(subject, looking, recorder=states, exact=False, host="bare")
    assert looking.seen
    return looking.seen


def writers(p: Program, values: Sequence[int] = (1, 1), like: str | None = None) -> None:
    """Tasks that write two words of their own or one word in common, and a bystander."""
    words = [p.cell(f"own{number}", 0) for number in range(len(values))]
    common = p.cell("common", 0)

    def body(number: int, value: int) -> Any:
        async def run() -> None:
            if like is None:
                await words[number].write("f.1", value)
            await common.write("f.2", value)
            await common.read("f.3")

        return run

    async def bystander() -> None:
        await p.rt.cond_resched("b.1")

    for number, value in enumerate(values):
        p.task(f"t{number}", body(number, value), like=like)
    p.task("bystander", bystander)


def test_independent_steps_lead_to_one_state_in_any_order() -> None:
    first = state_after(writers, [0, 0, 1, 1])
    second = state_after(writers, [1, 0, 0, 1])
    assert first == second


def test_progress_makes_another_state() -> None:
    states = {state_after(writers, [0] * length) for length in range(4)}
    assert len(states) == 4


def test_another_value_makes_another_state() -> None:
    other = lambda p: writers(p, (1, 2))  # noqa: E731
    assert state_after(writers, [0, 0, 1, 1]) != state_after(other, [0, 0, 1, 1])


def test_who_wrote_last_makes_another_state() -> None:
    both = [0, 0, 1, 1]
    assert state_after(writers, [*both, 0, 1]) != state_after(writers, [*both, 1, 0])


def test_what_was_read_is_part_of_the_state() -> None:
    def program(p: Program) -> None:
        word = p.cell("word", 0)

        async def looks() -> None:
            await word.read("l.1")
            await p.rt.cond_resched("l.2")

        async def toggles() -> None:
            await word.write("t.1", 1)
            await word.write("t.1", 0)
            await p.rt.cond_resched("t.2")

        p.task("looks", looks)
        p.task("toggles", toggles)

    early = state_after(program, [0, 1, 0, 1, 1])
    late = state_after(program, [0, 1, 1, 1, 0])
    between = state_after(program, [0, 1, 1, 0, 1])
    assert early == late
    assert between != early


def test_identical_actors_are_one_for_the_other_where_they_are_folded() -> None:
    def alike(p: Program) -> None:
        writers(p, (1, 1, 1), like="writer")

    one, other = [0, 0], [1, 1]
    assert state_after(alike, one, symmetry=True) == state_after(alike, other, symmetry=True)
    assert state_after(alike, one) != state_after(alike, other)
    assert state_after(alike, [0, 0, 0], symmetry=True) != state_after(alike, one, symmetry=True)


def test_order_of_a_queue_is_part_of_the_state_and_folded_waiters_have_places() -> None:
    def program(p: Program, like: str | None = None) -> None:
        mutex = Mutex(p.box, "mutex")

        async def body() -> None:
            await mutex.lock("m.1")
            await mutex.unlock("m.2")

        for number in range(4):
            p.task(f"t{number}", body, like=like)

    # Task 0 takes the mutex, 1 and 2 queue in either order; the enabled ones are counted from 0.
    one, other = [0, 0, 1, 1, 1, 1], [0, 0, 2, 2, 1, 1]
    assert state_after(program, one) != state_after(program, other)

    def alike(p: Program) -> None:
        program(p, "t")

    assert state_after(alike, one, symmetry=True) == state_after(alike, other, symmetry=True)


def test_finished_actor_of_a_kernel_has_no_history() -> None:
    states = StateHash(Terms())

    async def op(world: Any) -> None:
        await world.rt.cond_resched("f.1")

    world = alone(op, recorder=states)
    (actor,) = world.rt.actors
    assert actor.state is State.FINISHED
    assert states.record(actor) == Terms()(f"finished {actor.name}")


def test_text_is_of_values_and_never_of_addresses() -> None:
    def program(p: Program) -> None:
        word = p.cell("word", 0)
        assert text_of([word, p.box, None, True]) == "[&word & - 1]"

        async def body() -> None:
            await p.rt.cond_resched("f.1")

        p.task("t", body)

    subject: Any = Given(program)
    run_subject(subject, Replay(Choices(), exact=False), exact=False)
    assert text_of({1: ("a", b"b")}) == "{1:['a' b'b']}"
    assert text_of(frozenset({2, 1})) == "<1 2>"
    assert text_of(deque([State.BLOCKED])) == "[State.BLOCKED]"
    assert text_of(text_of) == "def text_of"


def test_value_without_a_stable_text_is_our_fault() -> None:
    with pytest.raises(EmulatorError, match="no stable text"):
        text_of(object())


def test_what_an_oracle_keeps_is_part_of_the_state() -> None:
    states = StateHash(Terms())

    async def op(world: Any) -> None:
        await world.rt.cond_resched("f.1")

    alone(op, recorder=states)
    before = states.machine()
    states.remembered("shadow", [1])
    after = states.machine()
    states.remembered("shadow", [2])
    assert len({before, after, states.machine()}) == 3
    states.remembered("shadow", [1])
    assert states.machine() == after
