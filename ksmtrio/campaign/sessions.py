# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions in campaigns: how one begins in the middle, and what it is told of an execution.

Tests: `tests/unit/test_campaign_sessions.py`.
"""

from __future__ import annotations

from ksmtrio.execution import Outcome, execute_subject
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK, Feedback, Session
from ksmtrio.subject import Subject


async def open_session(
    subject: Subject,
    strategy: str | None,
    seed: int,
    *,
    depth: int | None,
    profile: Profile,
    host: str = HOST_DEFAULT,
) -> Session:
    """Return the session that a seed belongs to, told of all executions that come before it.

    Args:
        subject: what to execute, should there be earlier ones to learn from.
        strategy: None means the default.
        seed: of the execution that comes next.
        depth: PCT depth; None draws it from the seed.
        profile: what earlier executions of the subject were like.
        host: what runs the actors of the earlier ones.

    Raises:
        BadInput: unknown strategy.
    """
    block, number = divmod(seed, BLOCK)
    session = Session(strategy, block, depth=depth, profile=profile)
    for earlier in range(number if session.learns else 0):
        steering = session.strategy(earlier)
        outcome = await execute_subject(subject, steering, marks=False, host=host)
        session.learn(earlier, steering, feedback_of(outcome))
    return session


def feedback_of(outcome: Outcome) -> Feedback:
    """Return what a session is told of an execution."""
    return Feedback(found=bool(outcome.findings), choices=len(outcome.choices.schedule))
