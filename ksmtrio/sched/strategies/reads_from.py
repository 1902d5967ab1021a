# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads-from fuzzing: have reads see writes that they have not seen yet.

Source: Wolff, Shi, Duck, Mathur, Roychoudhury, "Greybox Fuzzing for Concurrency Testing", ASPLOS
2024. An abstract schedule is a set of wishes: some read is to see some write (once), or is not to
see it. `ReadsFrom` steers one execution by it: an event that would spoil a wish waits as long as
others can run, and partial order sampling picks among the rest. `ReadsFromLearner` makes the
wishes: pairs of a read and a write that nobody has seen yet, and mutations (insert, delete, swap,
negate) of abstract schedules that led to a new combination of pairs; those that led where few
executions have been are mutated more often (the paper's cut-off exponential power schedule).

Differs from the paper: wishes name labels and words, never tasks, so that one wish steers a
hundred tasks of the same code; taking a lock is a read of who had it before; pairs that were never
seen are tried in turn, before chance picks among all; and patience has an end, because a task that
waits for others in a loop would spin for ever. No guarantee beyond that of partial order sampling,
which takes one execution in `_PLAIN_ONE_IN`. Tests: `tests/unit/test_reads_from.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.learner import BLOCK, Feedback
from ksmtrio.sched.strategies.sightings import INITIAL, Event, Pair, Sightings, reads, writes

_PLAIN_ONE_IN: Final = 8
_FRESH_MAX: Final = 3
_ENERGY_MAX: Final = 16
_POPS_MAX: Final = 64
_CORPUS_MAX: Final = 256


@attrs.frozen
class Wish:
    """A read is to see a write, once; or, with `seen` false, must never see it."""

    pair: Pair
    seen: bool = True


class ReadsFrom:
    """Steers one execution by wishes.

    Args:
        base: picks among the events that spoil no wish.
        wishes: what to work for.
        patience: choices in which somebody may be kept waiting; then all wishes are given up.

    Attributes:
        granted: the wishes that came true: seen, or never seen.
    """

    watches = True

    def __init__(self, base: Strategy, wishes: Sequence[Wish], *, patience: int) -> None:
        self.wishes = tuple(wishes)
        self.sightings = Sightings()
        self._base = base
        self._patience = patience
        self._open: dict[str, list[Wish]] = {}
        for wish in wishes:
            self._open.setdefault(wish.pair[0], []).append(wish)

    @property
    def granted(self) -> tuple[Wish, ...]:
        """The wishes that this execution fulfils."""
        return tuple(w for w in self.wishes if (w.pair in self.sightings.pairs) is w.seen)

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return an actor whose pending event spoils no wish, if there is one."""
        if not self._open:
            return self._base.pick(enabled, current)
        free = [actor for actor in enabled if not self._spoils(actor, enabled)]
        if len(free) == len(enabled):
            return self._base.pick(enabled, current)
        self._patience -= 1
        if self._patience < 0:
            self._open.clear()
        if not free or self._patience < 0:
            return self._base.pick(enabled, current)
        chosen = free[self._base.pick(free, current)] if len(free) > 1 else free[0]
        return enabled.index(chosen)

    def _spoils(self, actor: ActorState, enabled: Sequence[ActorState]) -> bool:
        if actor.obj is None:
            return False
        name = self.sightings.name_of(actor.obj)
        wishes = self._open.get(name)
        if wishes is None:
            return False
        last = self.sightings.last.get(name, INITIAL)
        at, op = actor.at, actor.op
        for wish in wishes:
            _, read, write = wish.pair
            if at == read and reads(op):
                if (last == write) is not wish.seen:
                    return True
            elif wish.seen:
                if last == write and writes(op):
                    return True
            elif at == write and writes(op) and self._pending(name, read, enabled):
                return True
        return False

    def _pending(self, name: str, read: str, enabled: Sequence[ActorState]) -> bool:
        """Return whether somebody could read now, who would have to see the write after it."""
        return any(
            a.at == read and a.obj is not None and self.sightings.name_of(a.obj) == name
            for a in enabled
        )

    def step(self, actor: ActorState) -> None:
        """Note what the event saw; close the wishes that came true or never can."""
        if self._base.watches:
            self._base.step(actor)
        if actor.obj is not None and self._open:
            name = self.sightings.name_of(actor.obj)
            if name in self._open:
                self._close(name, actor)
        self.sightings.step(actor)

    def _close(self, name: str, actor: ActorState) -> None:
        last = self.sightings.last.get(name, INITIAL)

        def is_open(wish: Wish) -> bool:
            if not wish.seen:
                return True
            _, read, write = wish.pair
            if last == write and actor.at == read and reads(actor.op):
                return False
            return not (write == INITIAL and writes(actor.op))

        left = [wish for wish in self._open[name] if is_open(wish)]
        if left:
            self._open[name] = left
        else:
            del self._open[name]

    def choose(self, stream: str, n: int) -> int:
        """Ask the base strategy."""
        return self._base.choose(stream, n)

    def demote(self, actor: ActorState) -> None:
        """Tell the base strategy."""
        self._base.demote(actor)


@attrs.define(eq=False)
class _Entry:
    """An abstract schedule worth mutating.

    Attributes:
        wishes: those that came true.
        behaviour: what they led to.
        chosen: how often its turn came.
    """

    wishes: tuple[Wish, ...]
    behaviour: int
    chosen: int = 0


class ReadsFromLearner:
    """`reads-from`.

    Args:
        seed: of the session.
        base: returns the strategy that picks where no wish has a say, by seed of the execution.
    """

    def __init__(self, seed: int, base: Callable[[int], Strategy]) -> None:
        self._stream = Stream(seed, "reads-from")
        self._first = seed * BLOCK
        self._base = base
        self._readers: dict[Event, int] = {}
        self._writers: dict[Event, int] = {}
        self._labels: dict[str, tuple[list[str], list[str]]] = {}
        self._seen: dict[Pair, None] = {}
        self._untried: list[Pair] = []
        self._tried: list[Pair] = []
        self._visits: Counter[int] = Counter()
        self._corpus: list[_Entry] = []
        self._turn = -1
        self._energy = 0
        self._longest = 0

    def strategy(self, number: int) -> ReadsFrom:
        """Return the strategy for the next abstract schedule."""
        base = self._base(self._first + number)
        return ReadsFrom(base, self._next(), patience=self._longest)

    def spec(self, number: int) -> StrategySpec:
        """Return name and seed; the wishes are a matter of the session so far."""
        return StrategySpec("reads-from", self._first + number)

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Keep the abstract schedule if it led to something new."""
        assert isinstance(strategy, ReadsFrom)
        behaviour = strategy.sightings.behaviour()
        if behaviour not in self._visits and len(self._corpus) < _CORPUS_MAX:
            self._corpus.append(_Entry(strategy.granted, behaviour))
        self.absorb(strategy.sightings, behaviour, feedback)

    def absorb(self, sightings: Sightings, behaviour: int, feedback: Feedback) -> None:
        """Learn which events and pairs there are, from an execution by whatever strategy."""
        self._visits[behaviour] += 1
        self._longest = max(self._longest, feedback.choices)
        self._seen.update(sightings.pairs)
        for known, found, which in (
            (self._readers, sightings.readers, 0),
            (self._writers, sightings.writers, 1),
        ):
            for event, actors in found.items():
                if event not in known:
                    self._combine(event, which)
                known[event] = known.get(event, 0) | actors

    def _combine(self, event: Event, which: int) -> None:
        """Add the pairs that a new event can be part of."""
        name, at = event
        labels = self._labels.setdefault(name, ([], [INITIAL]))
        others = labels[1 - which]
        labels[which].append(at)
        self._untried += [(name, at, o) if which == 0 else (name, o, at) for o in others]

    # -- abstract schedules --------------------------------------------------------------------

    def _next(self) -> tuple[Wish, ...]:
        if not self._visits or self._stream.one_in(_PLAIN_ONE_IN):
            return ()
        if self._corpus and self._stream.one_in(2):
            return self._mutated(self._parent().wishes)
        fresh: list[Wish] = []
        while len(fresh) < _FRESH_MAX:
            pair = self._fresh()
            if pair is None:
                return self._mutated(self._parent().wishes if self._corpus else ())
            fresh.append(Wish(pair))
            if self._stream.one_in(2):
                break
        return tuple(fresh)

    def _fresh(self) -> Pair | None:
        """Return a pair that was not seen yet, and was wished for less often than others."""
        for _ in range(_POPS_MAX):
            if not self._untried:
                self._untried, self._tried = self._tried, []
                if not self._untried:
                    return None
            place = self._stream.below(len(self._untried))
            self._untried[place], self._untried[-1] = self._untried[-1], self._untried[place]
            pair = self._untried.pop()
            if pair in self._seen:
                continue
            self._tried.append(pair)
            if self._between_actors(pair):
                return pair
        return None

    def _between_actors(self, pair: Pair) -> bool:
        """Return whether somebody else than the reader has a part in it, as far as is known."""
        name, read, write = pair
        readers = self._readers[name, read]
        labels = self._labels[name][1][1:] if write == INITIAL else [write]
        others = 0
        for label in labels:
            others |= self._writers[name, label]
        together = readers | others
        return together & (together - 1) != 0

    def _parent(self) -> _Entry:
        """Return the abstract schedule whose turn it is, by the power schedule."""
        for _ in self._corpus:
            if self._energy > 0:
                break
            self._turn = (self._turn + 1) % len(self._corpus)
            self._energy = self._energy_of(self._corpus[self._turn])
        self._energy -= 1
        return self._corpus[self._turn]

    def _energy_of(self, entry: _Entry) -> int:
        visits = self._visits[entry.behaviour]
        if visits * len(self._visits) > self._visits.total():
            return 0
        entry.chosen += 1
        return max(1, min(_ENERGY_MAX, (1 << min(entry.chosen, 16)) // visits))

    def _mutated(self, wishes: tuple[Wish, ...]) -> tuple[Wish, ...]:
        draw = self._stream.below
        kind = draw(4) if wishes else 0
        place = draw(len(wishes)) if wishes else 0
        if kind == 1:
            return wishes[:place] + wishes[place + 1 :]
        if kind == 2:
            old = wishes[place]
            return (*wishes[:place], Wish(old.pair, seen=not old.seen), *wishes[place + 1 :])
        new = self._any()
        if new is None:
            return wishes
        if kind == 3:
            return (*wishes[:place], new, *wishes[place + 1 :])
        return (*wishes, new)

    def _any(self) -> Wish | None:
        """Return a wish for a pair of any read and any write of one word, seen or not."""
        names = list(self._labels)
        draw = self._stream.below
        for _ in range(_POPS_MAX if names else 0):
            name = names[draw(len(names))]
            readers, writers = self._labels[name]
            if readers:
                pair = (name, readers[draw(len(readers))], writers[draw(len(writers))])
                if self._between_actors(pair):
                    return Wish(pair, seen=draw(4) != 0)
        return None
