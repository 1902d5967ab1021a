# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of the trace schema and the event systems there are.

An event with a colon in its name belongs to a system: a trace system of the kernel, or one of
ours. An event without one is an operation on a cell or a lock. Tests:
`tests/unit/test_trace_recorder.py`.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.errors import EmulatorError

FORMAT_VERSION: Final = 1
"""Version of the trace format; a reader accepts no other."""

EVENT_SYSTEMS: Final[dict[str, str]] = {
    "kmem": "page and slab allocation",
    "ksm": "kernel samepage merging",
    "ksmtrio": "the emulator's own events",
    "lock": "contention on emulated locks",
    "memhp": "memory hotplug and its notifier chain",
    "migrate": "page migration",
    "sched": "actors that start, sleep, wake and end",
    "syscalls": "system calls and sysfs accesses of user tasks",
}
"""Event system -> what its events tell."""


def check_event(event: str) -> None:
    """Refuse a tracepoint of a system that nobody declared.

    Raises:
        EmulatorError: the system is unknown.
    """
    system, colon, _ = event.partition(":")
    if colon and system not in EVENT_SYSTEMS:
        known = ", ".join(EVENT_SYSTEMS)
        raise EmulatorError(f"event {event!r} is of no known system; declare it or use: {known}")
