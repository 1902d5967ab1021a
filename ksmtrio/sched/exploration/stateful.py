# SPDX-License-Identifier: GPL-2.0-or-later
"""`stateful`: a search that remembers the machine states it has been in.

An execution follows a known beginning, takes one alternative there, and goes on into states that
nobody has seen; it ends at the first one that is known. What it passes by is put aside, to be tried
in order of preemptions. Four things keep the number of executions low:

* actors in equal states are tried once (symmetry), where tasks are declared to be of one class;
* sleep sets, stored with the states; a state met again with a smaller one is entered again for the
  difference. Source: Godefroid, Holzmann, Pirottin, "State-Space Caching Revisited", Formal Methods
  in System Design 7, 1995. It holds for any order of the search;
* a transition that disturbs nobody is tried alone (see `quiet.py`);
* both of these only without a bound: with one, they would leave out executions within it. There a
  state is the machine with what is free at it, and states come in order of cost, so that one that
  is known was met with at least as much budget left. Source: Musuvathi and Qadeer, "Iterative
  Context Bounding for Systematic Testing of Multithreaded Programs", PLDI 2007.

Guarantee, up to hash collisions: each final state is reached, and whatever a transition can do is
done at least once in each state that it can meet, as far as states differ in what it touches. Where
a finding cuts an execution short, how far others were by then is not told apart without a bound.
What an oracle keeps is part of a state where it says so (`Tap.remembered`).
Tests: `tests/unit/test_stateful.py`, `tests/property/test_stateful_soundness.py`.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.exploration.base import (
    GIVES_WAY,
    Counts,
    Covered,
    Preemptions,
    SavedState,
    Settings,
    preemptions,
)
from ksmtrio.sched.exploration.quiet import Beliefs
from ksmtrio.sched.exploration.stateful_data import (
    Branch,
    Knowledge,
    Option,
    Sleep,
    from_data,
    to_data,
)
from ksmtrio.sched.footprint import Footprints, dependent
from ksmtrio.sched.runtime import Prune
from ksmtrio.sched.state import StateHash, Terms, hash_of
from ksmtrio.sched.strategies.base import Unwatching
from ksmtrio.sched.tap import READ, WRITE, Fan, Tap

PLAIN: Final = "plain"
"""Mode without symmetry."""

_BYTES_PER_STATE: Final = 150
_BYTES_PER_BRANCH: Final = 900
"""What is kept in memory of each, roughly."""

_LOOKS: Final = frozenset({"read", "test_bit", "start", "resched"})
"""Pending operations that write nothing."""


class Walk(Unwatching):
    """One execution of the search.

    Args:
        search: whose store of states to use.
        branch: where to leave a former execution, or None for the very first one.

    Attributes:
        path: choices so far.
        branches: what was passed by, in order.
        waiting: (actor, lock) of those that were kept out of an ideal lock.
        asleep: it ended because all that could run was asleep.
    """

    def __init__(self, search: Stateful, branch: Branch | None) -> None:
        self._search = search
        self.footprints = Footprints()
        self.states = StateHash(search.terms, symmetry=search.symmetry)
        self.path = array("H")
        self.branches: list[Branch] = []
        self.waiting: dict[tuple[int, str], None] = {}
        self.asleep = False
        self._preemptions = Preemptions()
        self._known = array("H")
        self._sleep: Sleep = {}
        self._told = 0
        self._cost = 0
        if branch is not None:
            self._cost, option = branch.options[0]
            self._known = branch.path[: branch.place]
            self._known.append(option)
            self._sleep = branch.sleep
            self._told = branch.step

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Follow the beginning, then go where nobody has been."""
        free = self._preemptions.free(enabled, current)
        place = len(self.path)
        index = self._known[place] if place < len(self._known) else self._explore(enabled, free)
        self._preemptions.took(enabled[index])
        self.path.append(index)
        return index

    def choose(self, stream: str, n: int) -> int:
        """Follow the beginning, then take the ordinary outcome and leave the others for later."""
        place = len(self.path)
        if place < len(self._known):
            index = self._known[place]
        else:
            index = 0
            self._pass_by([(self._cost + 1, other) for other in range(1, n)], data=True)
        self.path.append(index)
        return index

    def demote(self, actor: ActorState) -> None:
        """To give way shows in the operation that the actor has announced."""

    def _explore(self, enabled: Sequence[ActorState], free: int) -> int:
        """Choose at a state that may be new.

        Raises:
            Prune: there is nothing to be done here that has not been, or will not be, elsewhere.
        """
        record = self.states.record
        equals: dict[int, Option] = {}
        for index, actor in enumerate(enabled):
            mine, option = record(actor), (self._cost + (~free >> index & 1), index)
            equals[mine] = min(option, equals.get(mine, option))
        if self._search.bound is not None:
            chosen, *left = self._within_bound(equals)
            self._pass_by(left)
            return chosen[1]
        self._wake()
        options = self._awake(equals)
        noise, chosen = min((self._noise(enabled[option[1]]), option) for option in options)
        options.remove(chosen)
        self._pass_by(sorted(options))
        if noise > 1:
            self._cost = chosen[0]
        return chosen[1]

    def _within_bound(self, equals: dict[int, Option]) -> list[Option]:
        """Return the options at this state, those without preemption first.

        What is free now and later is part of the state: who must have a turn before whom.
        """
        free = sorted(mine for mine, option in equals.items() if option[0] == self._cost)
        record, actors = self.states.record, self.states.rt.actors
        behind = sorted(
            (record(actors[index]), sorted(record(a) for a in actors if others >> a.index & 1))
            for index, others in self._preemptions.behind.items()
            if others
        )
        key = hash_of(f"{self.states.machine()} {free} {behind}")
        if self._search.visit(key, set()) is not None:
            raise Prune
        return sorted(equals.values())

    def _awake(self, equals: dict[int, Option]) -> list[Option]:
        """Return the options at this state that neither sleep nor were taken before."""
        actors = self.states.rt.actors
        asleep = {self.states.record(actors[index]) for index in self._sleep}
        missing = self._search.visit(self.states.machine(), asleep)
        if missing is None:
            options = [option for mine, option in equals.items() if mine not in asleep]
            self.asleep = not options
        else:
            options = [option for mine, option in equals.items() if mine in missing]
        if not options:
            raise Prune
        self.look_who_waits()
        return options

    def look_who_waits(self) -> None:
        """Note who would take a lock if he could: he may never come to do it."""
        for actor in self.states.rt.actors:
            if actor.waiting_on is not None:
                self.waiting[actor.index, self.states.name(actor.waiting_on)] = None

    def _noise(self, actor: ActorState) -> int:
        """Return 0 if the actor only starts, 1 if nobody is known to mind what it is about to do.

        Such transitions go first, whatever they cost: they are likely to leave nothing else to do.
        """
        if actor.op == "start":
            return 0
        if actor.op in GIVES_WAY:
            return 2
        if actor.obj is None:
            return 1
        accesses = {self.states.name(actor.obj): READ if actor.op in _LOOKS else WRITE}
        return 1 if self._search.beliefs.quiet(actor.index, accesses) else 2

    def _pass_by(self, options: list[Option], *, data: bool = False) -> None:
        """Leave options for later, as far as the bound allows."""
        allowed = self._search.within(options)
        self.branches.append(
            Branch(self.path, len(self.path), allowed, self._sleep, self._told, data)
        )

    def _wake(self) -> None:
        """Wake the sleepers that the last transitions disturbed.

        Raises:
            Prune: a sleeper ran, since there was no one else: this is covered elsewhere.
        """
        steps = self.footprints.steps
        if self._sleep:
            for step in steps[self._told :]:
                if step.actor in self._sleep:
                    self.asleep = True
                    raise Prune
                self._sleep = {
                    actor: accesses
                    for actor, accesses in self._sleep.items()
                    if not dependent(accesses, step.accesses)
                }
        self._told = len(steps)


class Stateful:
    """`stateful`. One execution is handed out at a time.

    Args:
        settings: mode ``plain`` does without symmetry.

    Attributes:
        counts: executions that came to an end; `redundant` ended at a known state, `blocked` where
            all that could run was asleep.
        complete: all states are known.
        bound: preemptions at most, or None.
        symmetry: whether tasks of one class are folded.
        terms: hashes that all executions share.
        beliefs: which transitions disturb nobody.
    """

    def __init__(self, settings: Settings) -> None:
        self.counts = Counts()
        self.complete = False
        self.bound = settings.bound
        self.symmetry = settings.mode != PLAIN
        self.terms = Terms()
        self.beliefs: Beliefs[Branch] = Beliefs()
        self._memory = settings.memory
        self._known: dict[int, tuple[int, ...]] = {}
        self._known_before = 0
        self._todo: dict[int, deque[Branch]] = {}
        self._kept = 0
        self._walk: Walk | None = None
        self._branch: Branch | None = None
        self._begun = False
        self._cut = False
        self._full = False

    # -- the search ----------------------------------------------------------------------------

    def next(self) -> Walk | None:
        """Return the strategy of the next execution; None: there is nothing left, or no memory."""
        used = len(self._known) * _BYTES_PER_STATE + self._kept * _BYTES_PER_BRANCH
        self._full = used > self._memory * 1_000_000
        self.complete = self._begun and not self._todo
        if self._full or self.complete:
            return None
        self._branch = self._pop() if self._begun else None
        self._begun = True
        self._known_before = len(self._known)
        self._walk = Walk(self, self._branch)
        return self._walk

    def taps(self) -> Tap:
        """Return what is to listen to the execution just handed out."""
        walk = self._walk
        assert walk is not None
        return walk.states if self.bound is not None else Fan(walk.footprints, walk.states)

    def learn(self, stop_reason: str) -> None:
        """Put aside what the execution passed by."""
        walk, branch = self._walk, self._branch
        assert walk is not None
        self._walk = self._branch = None
        pruned = stop_reason == "pruned"
        self.counts.executions += not pruned
        self.counts.redundant += pruned and not walk.asleep
        self.counts.blocked += pruned and walk.asleep
        steps = walk.footprints.steps
        if self.bound is None:
            begun = 0 if branch is None else branch.step
            for back in self.beliefs.observe(steps[begun:]):
                self._push(back)
            walk.look_who_waits()
            for actor, name in walk.waiting:
                for back in self.beliefs.observe_waiting(actor, name):
                    self._push(back)
        # A finding may have cut the last transition short: its footprint is not the whole one.
        whole = len(steps) - (not pruned and stop_reason != "done")
        if branch is not None:
            branch.options.pop(0)
            self._put_aside(branch, walk, whole)
        for left in walk.branches:
            self._put_aside(left, walk, whole)
        self.counts.states += len(self._known) - self._known_before

    def _put_aside(self, branch: Branch, walk: Walk, whole: int) -> None:
        """Keep a branch for later, unless what was tried there makes the others needless."""
        if not branch.options:
            return
        if self.bound is None and not branch.data and branch.step < whole:
            tried = walk.footprints.steps[branch.step]
            if not tried.choices:
                branch.sleep = {**branch.sleep, tried.actor: tried.accesses}
                if self.beliefs.quiet(tried.actor, tried.accesses):
                    self.beliefs.leave_out(tried.actor, tried.accesses, branch)
                    self._kept += 1
                    return
        self._push(branch)

    def _push(self, branch: Branch) -> None:
        self._todo.setdefault(branch.options[0][0], deque()).append(branch)
        self._kept += 1

    def _pop(self) -> Branch:
        """Return the oldest branch of the lowest cost."""
        cost = min(self._todo)
        branch = self._todo[cost].popleft()
        if not self._todo[cost]:
            del self._todo[cost]
        self._kept -= 1
        return branch

    # -- what a walk asks ----------------------------------------------------------------------

    def visit(self, key: int, asleep: set[int]) -> set[int] | None:
        """Enter a state; return who was asleep there so far and is not now, None at a new state.

        Args:
            key: hash of the state.
            asleep: records of the actors that need not run.
        """
        known = self._known.get(key)
        if known is None:
            self._known[key] = tuple(sorted(asleep))
            return None
        missing = set(known) - asleep
        if missing:
            self._known[key] = tuple(mine for mine in known if mine in asleep)
        return missing

    def within(self, options: list[Option]) -> list[Option]:
        """Return the options that the bound allows."""
        if self.bound is None:
            return options
        allowed = [option for option in options if option[0] <= self.bound]
        self._cut |= len(allowed) < len(options)
        return allowed

    # -- what the driver asks ------------------------------------------------------------------

    def covered(self) -> Covered:
        """Return what was covered."""
        if self._full and not self.complete:
            text = f"a part of the states: the memory of {self._memory} MB is used up"
            return Covered(3, text)
        if not self.complete:
            return Covered(2, "a part of the states")
        if self._cut and self.bound is not None:
            return Covered(1, f"all states reached with at most {preemptions(self.bound)}")
        return Covered(0, "all states")

    def work_left(self) -> int:
        """Return how many alternatives are known that have not been tried."""
        return sum(len(branch.options) for todo in self._todo.values() for branch in todo)

    def save(self) -> SavedState:
        """Return states, branches and beliefs."""
        return to_data(
            Knowledge(
                states=self._known,
                todo=[branch for cost in sorted(self._todo) for branch in self._todo[cost]],
                left_out=list(self.beliefs.entries()),
                kinds=self.beliefs.kinds,
                counts=self.counts,
                begun=self._begun,
                cut=self._cut,
            )
        )

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            BadInput: it is none of `stateful`.
        """
        saved = from_data(state)
        self._known = saved.states
        for branch in saved.todo:
            self._push(branch)
        for entry in saved.left_out:
            self.beliefs.leave_out(entry.actor, entry.accesses, entry.what)
        self.beliefs.kinds.update(saved.kinds)
        self.counts, self._begun, self._cut = saved.counts, saved.begun, saved.cut

    def split(self, parts: int) -> list[SavedState]:
        """Deal out the branches; each part goes on from the states known now.

        Without a bound nothing is given away: what was left out rests on what all parts learn.
        """
        if self.bound is None:
            return []
        hands: list[list[Branch]] = [[] for _ in range(parts + 1)]
        for cost in sorted(self._todo):
            for number, branch in enumerate(self._todo[cost]):
                hands[number % (parts + 1)].append(branch)
        self._todo = {}
        for branch in hands[0]:
            self._push(branch)
        return [
            to_data(Knowledge(states=self._known, todo=hand, cut=self._cut))
            for hand in hands[1:]
            if hand
        ]
