# SPDX-License-Identifier: GPL-2.0-or-later
"""Given interleavings: the form of a line, how far an actor runs, and where it went another way."""

from __future__ import annotations

from itertools import takewhile

import pytest

from ksmtrio.errors import BadInput
from ksmtrio.locking.mutex import Mutex
from ksmtrio.sched.strategies.interleave import LINES_MAX, Interleave, parse_interleaving
from ksmtrio.sched.tap import Tap
from tests.harness import Box, World, run_actors

ACTORS = ["a", "b"]


class Order(Tap):
    """Notes who carried out what."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, actor) -> None:
        """Note a step; starts have none."""
        if actor.op not in {"start", "resume"}:
            self.steps.append(f"{actor.name}.{actor.at}")


def follow(build, *lines):
    """Return how far lines were followed, and the steps that were carried out."""
    strategy = Interleave(parse_interleaving("\n".join(lines), "x.txt", actors=ACTORS))
    order = Order()
    run_actors(build, strategy=strategy, recorder=order)
    return strategy.followed(), order.steps


def walkers(world: World) -> None:
    """Two actors: a step, one with helpers, a loop of two rounds, a last step."""

    async def body() -> None:
        for at in ("1", "2", "2/put_page", "2#2", "3", "3", "4"):
            await world.rt.cond_resched(at)

    world.actor("a", body)
    world.actor("b", body)


def lockers(world: World) -> None:
    """Two actors that take one mutex."""
    mutex = Mutex(Box(world.rt, "m"), "mutex")

    async def body() -> None:
        await world.rt.cond_resched("1")
        await mutex.lock("2")
        await world.rt.cond_resched("3")
        await mutex.unlock("4")

    world.actor("a", body)
    world.actor("b", body)


def first_turn(steps):
    """Return the labels of the steps before the other actor's first."""
    actor = steps[0][0]
    return [step[2:] for step in takewhile(lambda step: step[0] == actor, steps)]


# -- how far -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("a: 1", "1"),
        ("a: .. 1", "1"),
        ("a: 2", "2#2"),
        ("a: 2/put_page", "2/put_page"),
        ("a: before 2", "1"),
        ("a: before 2#2", "2/put_page"),
        ("a: 3", "3"),
        ("a: 1 .. 3", "3"),
        ("a: 2 .. before 4", "3"),
        ("a: 3 ..", "4"),
        ("a: ..", "4"),
    ],
)
def test_actor_runs_as_far_as_its_line_says(line: str, last: str) -> None:
    followed, steps = follow(walkers, line, "b: 1")
    assert first_turn(steps)[-1] == last
    assert (followed.done, followed.divergence, followed.last) == (2, None, None)


def test_step_of_a_loop_is_one_round() -> None:
    _, steps = follow(walkers, "a: 3", "b: 1", "a: 3", "b: 2")
    assert steps.index("b.1") < steps.index("a.3", steps.index("a.3") + 1) < steps.index("b.2")


def test_lines_are_followed_one_after_the_other() -> None:
    followed, steps = follow(walkers, "b: 1", "a: before 2", "b: 2 .. 3", "a: ..", "b: 4")
    assert followed.done == followed.lines == 5
    assert steps == [
        *("b.1", "a.1"),
        *("b.2", "b.2/put_page", "b.2#2", "b.3"),
        *("a.2", "a.2/put_page", "a.2#2", "a.3", "a.3", "a.4"),
        *("b.3", "b.4"),
    ]


def test_after_the_last_line_who_runs_goes_on() -> None:
    _, steps = follow(walkers, "b: 1")
    assert first_turn(steps) == ["1", "2", "2/put_page", "2#2", "3", "3", "4"]


def test_line_to_the_end_ends_where_the_actor_blocks() -> None:
    followed, steps = follow(lockers, "a: 2", "b: ..", "a: ..", "b: ..")
    assert steps == ["a.1", "a.2", "b.1", "b.2", "a.3", "a.4", "b.3", "b.4"]
    assert followed.divergence is None
    assert followed.done == 4


def test_block_inside_the_step_is_enough_where_the_line_goes_to_the_end() -> None:
    followed, _ = follow(lockers, "a: 2", "b: 2 ..", "a: 4", "b: 4")
    assert followed.done == 4


def test_sleep_ends_a_line_to_the_end() -> None:
    def sleepers(world: World) -> None:
        async def body() -> None:
            await world.rt.cond_resched("1")
            await world.rt.sleep("2")
            await world.rt.cond_resched("3")

        world.actor("a", body)
        world.actor("b", body)

    _, steps = follow(sleepers, "a: ..", "b: 1", "a: ..")
    assert steps == ["a.1", "b.1", "a.2", "a.3", "b.2", "b.3"]


# -- divergence ----------------------------------------------------------------------------------


def test_actor_that_waits_for_a_lock_is_named_with_its_holder() -> None:
    followed, steps = follow(lockers, "# why", "a: 2", "b: 1 .. 3  # cannot", "a: 4")
    assert followed.done == 1
    found = followed.divergence
    assert (found.line, found.text) == (3, "b: 1 .. 3")
    assert found.expected == "b carries out 3"
    assert found.instead == "b waits at 2 for m.mutex, held by a"
    assert found.enabled == ("a at 3",)
    assert steps[-4:] == ["a.3", "a.4", "b.3", "b.4"]


def test_actor_that_has_ended_is_said_to_have() -> None:
    followed, _ = follow(walkers, "a: ..", "a: 1", "b: 1")
    assert followed.done == 1
    assert followed.divergence.instead == "a has ended, after 4"
    assert followed.divergence.enabled == ("b at 1",)


def test_step_that_the_actor_never_comes_to_is_expected_in_vain() -> None:
    followed, steps = follow(walkers, "a: before 9", "b: 1")
    assert followed.divergence.expected == "a gets to 9"
    assert first_turn(steps)[-1] == "4"


def test_actor_that_runs_because_nobody_else_can_leaves_the_lines() -> None:
    followed, _ = follow(lockers, "a: 2", "b: 1 ..", "b: 4")
    assert followed.done == 2
    assert followed.divergence.line == 3
    assert followed.divergence.instead == "b waits at 2 for m.mutex, held by a"


def test_execution_that_ends_within_a_line_says_in_which() -> None:
    def ends(world: World) -> None:
        async def body() -> None:
            await world.rt.cond_resched("1")
            world.rt.end("finding")

        async def other() -> None:
            await world.rt.cond_resched("1")

        world.actor("a", body)
        world.actor("b", other)

    followed, _ = follow(ends, "b: before 1", "a: 2", "b: 1")
    assert (followed.done, followed.divergence, followed.last) == (1, None, 2)
    assert followed.to_json() == {"lines": 3, "done": 1, "divergence": None, "last": 2}


# -- form ----------------------------------------------------------------------------------------


def test_blank_lines_and_comments_are_none_and_labels_keep_their_numbers() -> None:
    lines = parse_interleaving(
        "\n# all\n  a :  f.4#2 # two\n\tb: ..#2\n", "x", actors=ACTORS, labels=["f.4#2", "..#2"]
    )
    assert [line.number for line in lines] == [3, 4]
    assert [line.waypoints[0].label for line in lines] == ["f.4#2", "..#2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: no lines to follow"),
        ("# nothing\n\n", "x: no lines to follow"),
        ("a: f.1\nf.2\n", "x:2: 'f.2' is no line"),
        ("a:", "x:1: 'a:' is no line"),
        ("a: f.1 f.2", "x:1: .* is no line"),
        ("a: f.1 .. f.2 .. f.3", "x:1: .* is no line"),
        ("a: before f.1 ..", "x:1: .* is no line"),
        ("\nc: f.1", "x:2: unknown actor 'c'; there are: a, b"),
        ("a: f.9", r"x:1: unknown label 'f.9'; .*list points"),
        ("a: f.1 .. g.1", "x:1: unknown label 'g.1'"),
    ],
)
def test_malformed_line_is_bad_input_that_names_it(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"^{message}"):
        parse_interleaving(text, "x", actors=ACTORS, labels=["f.1", "f.2/put_page"])


def test_step_with_helpers_only_is_known() -> None:
    assert parse_interleaving("a: f.2", "x", actors=ACTORS, labels=["f.2/put_page#2"])


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(BadInput, match=f"x:{LINES_MAX + 1}: more than {LINES_MAX} lines"):
        parse_interleaving("a: ..\n" * (LINES_MAX + 1), "x", actors=ACTORS)
