# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts by name. Which one runs an execution changes what it costs, never what comes of it.

Tests: `tests/determinism/test_hosts.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ksmtrio.errors import BadInput
from ksmtrio.sched.host_bare import BareHost
from ksmtrio.sched.host_trio import TrioHost

if TYPE_CHECKING:
    from ksmtrio.sched.turn import Host

HOSTS: Final[dict[str, str]] = {
    "trio": "each actor is a trio task; what users run and see",
    "bare": "the same coroutines without an event loop, for searches of very many executions",
}
"""Host name -> description."""

HOST_DEFAULT: Final = "trio"


def make_host(name: str) -> Host:
    """Return a host for one execution.

    Raises:
        BadInput: unknown name.
    """
    if name == "trio":
        return TrioHost()
    if name == "bare":
        return BareHost()
    raise BadInput(f"unknown host {name!r}; choose one of: {', '.join(HOSTS)}")
