# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.exploration.quiet`: what disturbs nobody, as far as is known."""

from __future__ import annotations

from ksmtrio.sched.exploration.quiet import Beliefs
from ksmtrio.sched.footprint import Step
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE


def did(actor: int, **accesses: int) -> Step:
    return Step(actor, "f.1", "write", dict(accesses))


def test_transition_is_quiet_until_another_actor_conflicts() -> None:
    beliefs: Beliefs[str] = Beliefs()
    beliefs.observe([did(0, x=WRITE)])
    assert beliefs.quiet(0, {"x": WRITE})
    beliefs.observe([did(1, x=READ)])
    assert not beliefs.quiet(0, {"x": WRITE})
    assert beliefs.quiet(0, {"x": READ})


def test_additions_do_not_disturb_each_other() -> None:
    beliefs: Beliefs[str] = Beliefs()
    beliefs.observe([did(0, x=ADD), did(1, x=ADD)])
    assert beliefs.quiet(0, {"x": ADD})
    assert not beliefs.quiet(0, {"x": READ})


def test_what_was_left_out_comes_back_once_when_the_belief_breaks() -> None:
    beliefs: Beliefs[str] = Beliefs()
    beliefs.observe([did(0, x=WRITE, y=WRITE)])
    beliefs.leave_out(0, {"x": WRITE, "y": WRITE}, "branch")
    assert beliefs.observe([did(0, x=WRITE), did(1, z=WRITE)]) == []
    assert [entry.what for entry in beliefs.entries()] == ["branch"]
    assert beliefs.observe([did(1, y=READ)]) == ["branch"]
    assert beliefs.observe([did(1, x=READ)]) == []
    assert list(beliefs.entries()) == []


def test_waiting_for_a_lock_breaks_a_belief_as_taking_it_does() -> None:
    beliefs: Beliefs[str] = Beliefs()
    beliefs.leave_out(0, {"lock": WRITE}, "branch")
    assert beliefs.observe_waiting(1, "lock") == ["branch"]
    assert beliefs.observe_waiting(1, "lock") == []


def test_who_looks_at_anything_minds_every_write() -> None:
    beliefs: Beliefs[str] = Beliefs()
    beliefs.leave_out(0, {"x": WRITE}, "write")
    beliefs.leave_out(0, {"x": READ}, "read")
    assert beliefs.observe([Step(1, "f.1", "wait_event", {ANYTHING: READ})]) == ["write"]
    assert not beliefs.quiet(1, {ANYTHING: READ})
