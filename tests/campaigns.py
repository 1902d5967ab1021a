# SPDX-License-Identifier: GPL-2.0-or-later
"""Searches and exact schedules for race tests: one call runs many seeds, or one drawn schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

import attrs
import trio

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.execution import Outcome, execute, probed
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.scenario.schema import Scenario
from ksmtrio.sched.strategies import resolve
from ksmtrio.subject import KernelSubject
from tests.harness import Turns

QUIET: Final = 80
"""Seeds of a search that is to find nothing new, long enough to enter its window often."""


@attrs.define
class Search:
    """What many executions of one scenario on one kernel showed."""

    executions: int = 0
    signatures: Counter[str] = attrs.field(factory=Counter)
    marks: Counter[str] = attrs.field(factory=Counter)
    marks_with: dict[str, set[str]] = attrs.field(factory=dict)

    def unexplained(self) -> list[str]:
        """Return the signatures that are no known defect of the kernel of the day."""
        issues = load_known_issues()
        return [s for s in self.signatures if match_known(s, issues) is None]

    def kinds(self) -> set[str]:
        """Return ``oracle:kind`` of every finding."""
        return {signature.split("@")[0] for signature in self.signatures}


def search(
    scenario: str | Scenario,
    seeds: int,
    *,
    kernel_name: str = "v2.6.33",
    without: Collection[str] = (),
    until: str | Callable[[Search], object] = "",
) -> Search:
    """Run seeds 0.. of a scenario, which may be a built-in one's name.

    Args:
        kernel_name: what to run them on.
        without: switches to turn off there.
        until: stop at the first signature that starts so, or once this is true of what there is
            so far; "": run them all. `seeds` may then be many more than the search needs.
    """
    loaded = load_scenario(scenario) if isinstance(scenario, str) else scenario
    kernel = build_kernel(kernel_name, without=without)
    profile = probed(KernelSubject(loaded, kernel))
    result = Search()

    async def main() -> None:
        for seed in range(seeds):
            outcome = await execute(loaded, kernel, resolve(None, seed, profile=profile))
            result.executions += 1
            result.signatures.update(outcome.signatures())
            result.marks.update(outcome.marks)
            for signature in outcome.signatures():
                result.marks_with.setdefault(signature, set()).update(outcome.marks)
            if callable(until):
                if until(result):
                    return
            elif until and any(s.startswith(until) for s in outcome.signatures()):
                return

    trio.run(main)
    return result


def follow(
    scenario: str | Scenario,
    *turns: str,
    kernel_name: str = "v2.6.33",
    with_: Collection[str] = (),
    without: Collection[str] = (),
) -> Outcome:
    """Run one exact schedule, as `tests.harness.Turns` spells it."""
    loaded = load_scenario(scenario) if isinstance(scenario, str) else scenario
    kernel = build_kernel(kernel_name, with_=with_, without=without)
    return trio.run(execute, loaded, kernel, Turns(*turns))


def without_actor(scenario: str, name: str) -> Scenario:
    """Return a built-in scenario less one actor."""
    loaded = load_scenario(scenario)
    kept = tuple(actor for actor in loaded.actors if actor.name != name)
    assert len(kept) == len(loaded.actors) - 1, f"{scenario} has no actor {name}"
    return attrs.evolve(loaded, actors=kept)
