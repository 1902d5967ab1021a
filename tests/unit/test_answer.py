# SPDX-License-Identifier: GPL-2.0-or-later
"""What calls answer is told to the oracles, whether they succeed or not."""

from __future__ import annotations

from errno import EINVAL
from typing import Any

import pytest

from ksmtrio.errors import SyscallError
from ksmtrio.mm.globals import Globals
from ksmtrio.uapi.answer import Answer, system_call
from tests.unit.oracle_world import World


@system_call
async def double_(g: Globals, value: int, *, fail: bool = False) -> int:
    """Double."""
    await g.rt.cond_resched("double.1")
    if fail:
        raise SyscallError(EINVAL)
    return 2 * value


def told(world: World) -> list[tuple[Answer, str]]:
    heard: list[tuple[Answer, str]] = []

    def listen(kind: str, target: Any, at: str, message: str, other: object) -> None:
        assert kind == "answered"
        heard.append((target, at))

    world.rt.listeners.append(listen)
    return heard


def test_answer_goes_to_the_caller_and_to_listeners() -> None:
    world = World([])
    heard = told(world)

    async def body() -> None:
        assert await double_(world.g, 4) == 8

    world.run(task=body)
    assert heard == [(Answer("double", (4,), 8, 0), "double.1")]


def test_error_is_told_and_raised() -> None:
    world = World([])
    heard = told(world)

    async def body() -> None:
        with pytest.raises(SyscallError):
            await double_(world.g, 4, fail=True)

    world.run(task=body)
    assert heard == [(Answer("double", (4,), None, EINVAL), "double.1")]


def test_name_and_docstring_stay() -> None:
    assert double_.__name__ == "double_"
    assert double_.__doc__ == "Double."
