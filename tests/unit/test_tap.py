# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.tap`: listeners to the stream of an execution, alone and several at once."""

from __future__ import annotations

from ksmtrio.sched.tap import READ, Fan, Tap
from tests.harness import alone


class Diary(Tap):
    """Keeps the words for what it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def attach(self, rt) -> None:
        """An execution begins."""
        self.heard.append("attach")

    def step(self, actor) -> None:
        """A transition begins."""
        self.heard.append(f"step {actor.at}")

    def operation(self, at, event, target, value) -> None:
        """An operation was done."""
        self.heard.append(f"{event} {target.name}")

    def aside(self, name, kind) -> None:
        """Something else was touched."""
        self.heard.append(f"aside {name} {kind}")


async def wait_and_look(world) -> None:
    """Pass one point and look at the clock."""
    await world.rt.cond_resched("f.1")
    world.rt.jiffies()


def test_tap_hears_of_the_execution_before_its_first_step() -> None:
    diary = Diary()
    alone(wait_and_look, recorder=diary)
    assert diary.heard == ["attach", "step start", "step f.1", f"aside jiffies {READ}"]


def test_fan_tells_each_of_its_taps_the_same() -> None:
    one, other = Diary(), Diary()
    alone(wait_and_look, recorder=Fan(one, other))
    assert one.heard
    assert one.heard == other.heard
