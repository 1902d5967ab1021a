# SPDX-License-Identifier: GPL-2.0-or-later
"""What every system call and sysfs file has in common: its answer is told to the oracles.

Tests: `tests/unit/test_answer.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import attrs

from ksmtrio.errors import SyscallError

if TYPE_CHECKING:
    from ksmtrio.sched.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")


class HasRuntime(Protocol):
    """First argument of a call: the kernel's globals, or a memory block."""

    @property
    def rt(self) -> Runtime:
        """The scheduler."""
        ...


S = TypeVar("S", bound=HasRuntime)


@attrs.frozen
class Answer:
    """What a call gave back.

    Attributes:
        call: name of the function here, e.g. ``move_pages``.
        args: what it was called with, but for the kernel's globals.
        value: success value, or None where there was an error.
        errno: positive errno, 0 for success.
    """

    call: str
    args: tuple[Any, ...]
    value: Any
    errno: int


def system_call(
    call: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Tell listeners of the runtime what a call answered, as the notice ``answered``."""
    name = call.__name__.rstrip("_")

    @wraps(call)
    async def answering(g: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            value = await call(g, *args, **kwargs)
        except SyscallError as error:
            _tell(g.rt, Answer(name, args, None, error.errno))
            raise
        _tell(g.rt, Answer(name, args, value, 0))
        return value

    return answering


def _tell(rt: Runtime, answer: Answer) -> None:
    me = rt.current
    if me is not None:
        rt.notice("answered", answer, me.at, "")
