# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.host_bare`: the trampoline."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable

import pytest
import trio

from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.host_bare import BareHost, drive
from ksmtrio.sched.hosts import HOSTS, make_host


def run_bodies(host: BareHost, *bodies: Callable[[], Awaitable[None]]) -> list[ActorState]:
    actors = [ActorState(i, f"a{i}", i) for i in range(len(bodies))]
    drive(host.run(actors, bodies, lambda: actors[0]))
    return actors


def test_baton_goes_where_it_is_sent() -> None:
    host, log = BareHost(), []
    actors: list[ActorState] = []

    def body(me: int, *targets: int | None):
        async def run() -> None:
            for to in targets:
                log.append(me)
                await host.switch(None if to is None else actors[to])
            host.pass_on(None)

        return run

    actors += [ActorState(i, f"a{i}", i) for i in range(3)]
    bodies = [body(0, 2, 1), body(1, None), body(2, 0)]
    drive(host.run(actors, bodies, lambda: actors[0]))
    assert log == [0, 2, 0, 1]


def test_bodies_that_are_parked_or_never_ran_are_closed_without_a_warning() -> None:
    host, log = BareHost(), []

    async def parks() -> None:
        try:
            await host.switch(None)
        finally:
            log.append("closed")

    async def never() -> None:
        log.append("ran")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_bodies(host, parks, never)
        gc.collect()
    assert log == ["closed"]


def test_error_of_a_body_comes_out_and_the_others_are_closed() -> None:
    host, log = BareHost(), []
    actors = [ActorState(i, f"a{i}", i) for i in range(2)]

    async def parks() -> None:
        try:
            await host.switch(actors[1])
        finally:
            log.append("closed")

    async def fails() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        drive(host.run(actors, [parks, fails], lambda: actors[0]))
    assert log == ["closed"]


def test_bodies_are_closed_without_a_warning_when_nobody_can_be_first() -> None:
    async def never() -> None:
        raise AssertionError

    def first() -> ActorState:
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            drive(BareHost().run([ActorState(0, "a", 0)], [never], first))
        gc.collect()


def test_body_that_waits_for_an_event_loop_is_a_fault() -> None:
    async def waits() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    with pytest.raises(EmulatorError, match="waits for an event loop"):
        run_bodies(BareHost(), waits)
    with pytest.raises(EmulatorError, match="waits for an event loop"):
        drive(waits())


def test_hosts_are_made_by_name() -> None:
    assert {type(make_host(name)).__name__ for name in HOSTS} == {"TrioHost", "BareHost"}
    with pytest.raises(BadInput, match="choose one of: trio, bare"):
        make_host("asyncio")
