# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: steps of each actor and shared words, as counted in earlier executions."""

from __future__ import annotations

from ksmtrio.sched.strategies.profile import Profile, Profiler, profile_of
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.urw import UniformWalk
from tests.harness import World, run_actors
from tests.programs import busy
from tests.statistics import writers


def profiled(build, *strategies):
    """Return the profile of one execution under each strategy."""
    seen = [Profiler(strategy) for strategy in strategies]
    for profiler in seen:
        run_actors(build, strategy=profiler)
    return profile_of(seen)


def test_profile_of_nothing_says_nothing():
    assert profile_of([]) == Profile()


def test_steps_are_counted_without_the_starts():
    profile = profiled(writers(3, 1, 2), RandomStrategy(1))
    assert profile.steps == (3, 1, 2)
    assert 0 < profile.choices <= 3 + 6


def test_only_words_of_several_actors_are_shared():
    profile = profiled(writers(3, 1, private=2), RandomStrategy(1))
    assert profile.steps == (9, 3)
    assert profile.shared == (("box.word", (3, 1)),)


def test_locks_count_as_words_do():
    names = [name for name, _ in profiled(busy, RandomStrategy(1)).shared]
    assert names == sorted(names)
    assert {"box.mutex", "box.rwsem", "box.total"} <= set(names)


def test_several_executions_give_the_median_steps_and_the_most_choices():
    def varying(world: World) -> None:
        async def body() -> None:
            for _ in range(next(lengths)):
                await world.rt.cond_resched("f.1")

        async def other() -> None:
            await world.rt.cond_resched("f.1")

        world.actor("a", body)
        world.actor("b", other)

    lengths = iter([1, 50, 4])
    seen = [Profiler(UniformWalk(0, counts=())) for _ in range(3)]
    for profiler in seen:
        run_actors(varying, strategy=profiler)
    profile = profile_of(seen)
    assert profile.steps == (4, 1)
    assert profile.choices == max(profiler.choices for profiler in seen)


def test_profiler_tells_a_watching_strategy_what_it_watches():
    plain = run_actors(busy, strategy=UniformWalk(3, counts=(4, 4, 4, 4)))
    watched = run_actors(busy, strategy=Profiler(UniformWalk(3, counts=(4, 4, 4, 4))))
    assert watched.rt.choices == plain.rt.choices
