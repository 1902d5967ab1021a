# SPDX-License-Identifier: GPL-2.0-or-later
"""Hunts: how many executions of a strategy it takes to the first finding of a kind."""

from __future__ import annotations

from typing import Final

import trio

from ksmtrio.campaign.sessions import feedback_of, open_session
from ksmtrio.execution import execute_subject, probe
from ksmtrio.sched.strategies.session import BLOCK
from ksmtrio.subject import Subject

SEEDS_APART: Final = 1 << 20
"""Hunts of different numbers have no seed in common."""


def hunt(subject: Subject, strategy: str, number: int, finding: str, *, at_most: int) -> int | None:
    """Return how many executions it took, or None: not found within `at_most` of them.

    Args:
        subject: what to execute.
        strategy: by name.
        number: of the hunt; hunts are independent of each other.
        finding: what the signature begins with.
        at_most: bound of executions.
    """
    return trio.run(_hunt, subject, strategy, number * SEEDS_APART, finding, at_most)


async def _hunt(
    subject: Subject, strategy: str, first: int, finding: str, at_most: int
) -> int | None:
    profile = await probe(subject)
    session = None
    for seed in range(first, first + at_most):
        place = seed % BLOCK
        if session is None or place == 0:
            session = await open_session(subject, strategy, seed, depth=None, profile=profile)
        steering = session.strategy(place)
        outcome = await execute_subject(subject, steering, marks=False, host="bare")
        if any(signature.startswith(finding) for signature in outcome.signatures()):
            return seed - first + 1
        session.learn(place, steering, feedback_of(outcome))
    return None
