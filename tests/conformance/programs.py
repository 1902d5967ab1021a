# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers the programs whose answers `observations.jsonl` holds, by the scenario's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.conformance.world import Bench

Program = Callable[[Bench], Awaitable[None]]

PROGRAMS: dict[str, Program] = {}
"""Scenario -> program."""


def program(scenario: str) -> Callable[[Program], Program]:
    """Register a program; one that leaves contents behind also verifies them at its end."""

    def register(body: Program) -> Program:
        async def whole(bench: Bench) -> None:
            await body(bench)
            if bench.processes:
                await bench.end()

        PROGRAMS[scenario] = whole
        return body

    return register
