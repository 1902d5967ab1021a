# SPDX-License-Identifier: GPL-2.0-or-later
"""Depth-first search, preemption bound by preemption bound.

Level 0 has all executions in which nothing counts as a preemption (see `Preemptions`; a data or
fault choice that is not the default counts, too), level 1 those with one, and so on: what takes few
preemptions is found first. Each execution is executed once over all levels: the executions of a
level are what the next one's branch off from, and they are remembered for that as `Branches`, a few
numbers each. Nothing is remembered of the last level. Where that would take too much memory, or
there is no bound, an execution's branches are taken at once, depth first: then all that is kept is
the path of the present execution.

Source: Musuvathi, Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded
Programs", PLDI 2007. Guarantee: all executions up to the bound, which is polynomial in their length
for a fixed bound. Tests: `tests/unit/test_exploration_dfs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import attrs
import msgspec

from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.exploration.base import (
    Counts,
    Covered,
    Preemptions,
    SavedState,
    Settings,
    preemptions,
)
from ksmtrio.sched.strategies.base import Strategy, Unwatching

_BYTES_PER_NUMBER: Final = 12
_BYTES_PER_BRANCHES: Final = 240
"""What a `Branches` takes in memory, roughly: numbers and objects."""


@attrs.frozen
class Branches:
    """Places of one execution at which executions of the next level leave it.

    Attributes:
        path: (place, choice) for each choice on the way that was not the first free one.
        first: place of the first choice to branch off at.
        last: place of the last; before `first` for the start, which branches off from nothing.
        count: alternatives at all of them.
    """

    path: tuple[tuple[int, int], ...] = ()
    first: int = 0
    last: int = -1
    count: int = 1


@attrs.define
class Node:
    """One choice on the present path.

    Attributes:
        taken: what is chosen now.
        rest: what is still to be chosen, as a set of bits.
        counting: what counts as a preemption, as a set of bits.
        before: preemptions on the way here.
        usual: the first free choice.
        way: what leads on along the execution that is branched off from; -1: we have left it.
        width: alternatives that the search may take here, counting those behind it.
    """

    taken: int
    rest: int
    counting: int
    before: int
    usual: int
    way: int
    width: int

    @property
    def after(self) -> int:
        """Preemptions on the way, this choice included."""
        return self.before + (self.counting >> self.taken & 1)


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Mask = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,256}$")]
"""A set of bits in hexadecimal: JSON numbers end at 64 bits."""

_SavedNode = tuple[_Count, _Mask, _Mask, _Count, _Count, int, _Count]
_SavedBranches = tuple[list[tuple[_Count, _Count]], _Count, int, _Count]


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    """The state as it is saved."""

    level: _Count
    nodes: list[_SavedNode]
    branches: _SavedBranches
    queue: list[_SavedBranches]
    later: list[_SavedBranches]
    counts: tuple[_Count, _Count, _Count, _Count]
    roots: _Count
    at_level: _Count
    begun: bool
    finished: bool
    at_once: bool


class Dfs:
    """`dfs`. Explores by levels up to `Settings.bound`; without a bound, depth first at once.

    Attributes:
        level: preemptions of the executions explored now; 0 where there is no bound.
    """

    def __init__(self, settings: Settings) -> None:
        self.counts = Counts()
        self.complete = False
        self.level = 0
        self._bound = settings.bound
        self._memory = settings.memory * 1_000_000
        self._nodes: list[Node] = []
        self._branches = Branches()
        self._queue: list[Branches] = []
        self._later: list[Branches] = []
        self._later_bytes = 0
        self._fresh = 0
        self._at_once = settings.bound is None
        self._begun = False
        self._roots = 1
        self._at_level = 0

    # -- the search ----------------------------------------------------------------------------

    def next(self) -> Strategy | None:
        """Return the strategy of the next execution; None: all were executed."""
        if self.complete or not self._advance():
            self.complete = True
            return None
        self._begun = True
        return Steered(self, [node.taken for node in self._nodes])

    def taps(self) -> None:
        """Choices are all there is to hear."""
        return

    def learn(self, stop_reason: str) -> None:
        """Count it, and remember what is to branch off from it."""
        del stop_reason
        self.counts.executions += 1
        self._at_level += 1
        if not self._at_once:
            self._remember()

    def _advance(self) -> bool:
        """Set the path for the next execution; False: there is none."""
        nodes = self._nodes
        if not self._begun:
            self._fresh = 0
            return True
        while nodes:
            node = nodes[-1]
            if node.rest:
                self._take(node, (node.rest & -node.rest).bit_length() - 1)
                self._fresh = len(nodes)
                return True
            nodes.pop()
        return self._next_branches()

    @staticmethod
    def _take(node: Node, choice: int) -> None:
        node.rest &= ~(1 << choice)
        node.taken = choice

    def _next_branches(self) -> bool:
        """Go on with another execution to branch off from; False: there is none on any level."""
        if not self._queue:
            if not self._later:
                return False
            self._queue, self._later, self._later_bytes = self._later[::-1], [], 0
            self.level += 1
            self._at_level = self._roots = 0
        self._branches = self._queue.pop()
        self._roots += self._branches.count
        self._fresh = 0
        return True

    def _remember(self) -> None:
        """Keep the places of this execution's own part at which one more preemption is allowed."""
        bound = self._bound
        nodes = self._nodes
        assert bound is not None
        places = [
            place
            for place in range(self._fresh, len(nodes))
            if nodes[place].way < 0 and nodes[place].counting and nodes[place].before < bound
        ]
        if not places:
            return
        last = places[-1]
        path = tuple(
            (place, node.taken)
            for place, node in enumerate(nodes[:last])
            if node.taken != node.usual
        )
        count = sum(nodes[place].counting.bit_count() for place in places)
        self._later.append(Branches(path, places[0], last, count))
        self._later_bytes += _BYTES_PER_BRANCHES + 2 * _BYTES_PER_NUMBER * len(path)
        if self._later_bytes > self._memory:
            self._at_once = True

    # -- what the strategy asks ----------------------------------------------------------------

    def choice(self, place: int, free: int, n: int) -> int:
        """Return the choice at a place that the path does not reach yet, and append it there.

        Args:
            place: number of the choice in the execution.
            free: what does not count, as a set of bits.
            n: number of alternatives.
        """
        nodes = self._nodes
        if place != len(nodes):
            raise EmulatorError(f"dfs: choice {place} on a path of {len(nodes)}")
        above = nodes[-1] if nodes else None
        usual = (free & -free).bit_length() - 1
        counting = ((1 << n) - 1) & ~free
        before = 0 if above is None else above.after
        branches = self._branches
        on_the_way = above is None or above.taken == above.way
        if place <= branches.last and on_the_way:
            new = self._on_the_way(place, counting, before, usual)
        else:
            rest = free & ~(1 << usual)
            if self._at_once and (self._bound is None or before < self._bound):
                rest |= counting
            new = Node(usual, rest, counting, before, usual, -1, 1 + rest.bit_count())
        nodes.append(new)
        return new.taken

    def _on_the_way(self, place: int, counting: int, before: int, usual: int) -> Node:
        """Return the node of a choice that an earlier execution has taken already."""
        branches = self._branches
        way = usual
        for there, choice in branches.path:
            if there == place:
                way = choice
        if place < branches.first or not counting:
            return Node(way, 0, counting, before, usual, way, 1)
        rest = counting if place == branches.last else counting | 1 << way
        new = Node(way, rest, counting, before, usual, way, rest.bit_count())
        self._take(new, (counting & -counting).bit_length() - 1)
        return new

    # -- what the driver asks ------------------------------------------------------------------

    def covered(self) -> Covered:
        """Return which levels were covered."""
        if self._bound is None:
            if self.complete:
                return Covered(0, "all executions")
            return Covered(1, "a part of all executions, depth first")
        if self.complete:
            return Covered(0, f"all executions with at most {preemptions(self._bound)}")
        lacking = self._bound - self.level + 1
        if self.level == 0:
            return Covered(lacking, "a part of the executions without preemption")
        mixed = ", with a part of those with more" if self._at_once else ""
        return Covered(
            lacking,
            f"all executions with at most {preemptions(self.level - 1)}, "
            f"a part of those with {self.level}{mixed}",
        )

    def work_left(self) -> int | None:
        """Return an estimate, from how far the path has come and how many branches are waiting."""
        if self.complete:
            return 0
        if not self._at_level:
            return None
        begun = self._branches.count * (1.0 - self._share_done())
        per_root = self._at_level / max(self._roots - begun, 1e-9)
        left = (sum(branches.count for branches in self._queue) + begun) * per_root
        if self._bound is not None and not self._at_once:
            size = self._at_level + left
            growth = sum(branches.count for branches in self._later) / self._at_level
            for level in range(self.level + 1, self._bound + 1):
                size *= growth * (self.level + 1) / level * (per_root if self.level else 1.0)
                left += size
        return round(left)

    def _share_done(self) -> float:
        """Return which part of the tree below the present root was left behind."""
        done, share = 0.0, 1.0
        for node in self._nodes:
            done += share * (node.width - 1 - node.rest.bit_count()) / node.width
            share /= node.width
        return done + share if self._nodes else 1.0

    def save(self) -> SavedState:
        """Return the path, and all branches that are waiting."""
        counts = self.counts
        return {
            "level": self.level,
            "nodes": [_plain_node(node) for node in self._nodes],
            "branches": _plain(self._branches),
            "queue": [_plain(branches) for branches in self._queue],
            "later": [_plain(branches) for branches in self._later],
            "counts": [counts.executions, counts.redundant, counts.blocked, counts.states],
            "roots": self._roots,
            "at_level": self._at_level,
            "begun": self._begun,
            "finished": self.complete,
            "at_once": self._at_once,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            BadInput: it is none of `dfs`.
        """
        try:
            saved = msgspec.convert(state, _Saved)
        except msgspec.ValidationError as error:
            raise BadInput(f"not a state of dfs: {error}") from error
        self.level = saved.level
        self._nodes = [_node(node) for node in saved.nodes]
        self._branches = _branches(saved.branches)
        self._queue = [_branches(one) for one in saved.queue]
        self._later = [_branches(one) for one in saved.later]
        self._later_bytes = sum(
            _BYTES_PER_BRANCHES + 2 * _BYTES_PER_NUMBER * len(one.path) for one in self._later
        )
        executions, redundant, blocked, states = saved.counts
        self.counts = Counts(
            executions=executions, redundant=redundant, blocked=blocked, states=states
        )
        self._roots, self._at_level = saved.roots, saved.at_level
        self._begun, self.complete = saved.begun, saved.finished
        self._at_once = saved.at_once or self._bound is None

    def split(self, parts: int) -> list[SavedState]:
        """Give away branches that are waiting, evenly, or else alternatives near the root."""
        if self.complete or not self._begun:
            return []
        given = []
        if self._queue or self._later:
            queues, laters = _deal(self._queue, parts + 1), _deal(self._later, parts + 1)
            self._queue, self._later = queues[0], laters[0]
            # Each takes its share of what the estimate of the work left goes by.
            self._roots = max(1, self._roots // (parts + 1))
            self._at_level //= parts + 1
            given = [
                self._part([], queue, later)
                for queue, later in zip(queues[1:], laters[1:], strict=True)
                if queue or later
            ]
        while len(given) < parts:
            nodes = self._give_a_subtree()
            if nodes is None:
                break
            given.append(self._part(nodes, [], []))
        return given

    def _give_a_subtree(self) -> list[Node] | None:
        """Cut half of the alternatives off at the first choice that has any."""
        for place, node in enumerate(self._nodes):
            if not node.rest:
                continue
            kept = [attrs.evolve(above, rest=0, width=1) for above in self._nodes[:place]]
            mine = 0
            for nr, choice in enumerate(_bits(node.rest)):
                if nr % 2:
                    mine |= 1 << choice
            rest = node.rest & ~mine
            theirs = attrs.evolve(node, rest=rest, width=1 + rest.bit_count())
            node.rest = mine
            node.width -= rest.bit_count()
            return [*kept, theirs]
        return None

    def _part(self, nodes: list[Node], queue: list[Branches], later: list[Branches]) -> SavedState:
        """Return a state that has only this to do."""
        part = Dfs(Settings(bound=self._bound, memory=self._memory // 1_000_000))
        part.level = self.level
        part._nodes, part._queue, part._later = nodes, queue, later
        part._branches = self._branches if nodes else Branches()
        part._roots = part._branches.count if nodes else self._roots
        part._at_level = 0 if nodes else self._at_level
        part._begun = True
        part._at_once = self._at_once
        return part.save()


class Steered(Unwatching):
    """Follows the path of a search, and extends it where it ends."""

    def __init__(self, search: Dfs, path: list[int]) -> None:
        self._search = search
        self._path = path
        self._place = 0
        self._preemptions = Preemptions()

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the next index of the path, or extend it."""
        place = self._place
        self._place = place + 1
        free = self._preemptions.free(enabled, current)
        path = self._path
        more = place >= len(path)
        index = self._search.choice(place, free, len(enabled)) if more else path[place]
        self._preemptions.took(enabled[index])
        return index

    def choose(self, stream: str, n: int) -> int:
        """Return the next index of the path, or extend it by the default."""
        place = self._place
        self._place = place + 1
        path = self._path
        return path[place] if place < len(path) else self._search.choice(place, 1, n)

    def demote(self, actor: ActorState) -> None:
        """To give way shows in the operation that the actor has announced."""


def _bits(mask: int) -> list[int]:
    return [place for place in range(mask.bit_length()) if mask >> place & 1]


def _deal(branches: list[Branches], hands: int) -> list[list[Branches]]:
    return [branches[hand::hands] for hand in range(hands)]


def _plain(branches: Branches) -> list[Any]:
    return [
        [list(step) for step in branches.path],
        branches.first,
        branches.last,
        branches.count,
    ]


def _plain_node(node: Node) -> list[Any]:
    rest, counting = f"{node.rest:x}", f"{node.counting:x}"
    return [node.taken, rest, counting, node.before, node.usual, node.way, node.width]


def _node(saved: _SavedNode) -> Node:
    taken, rest, counting, before, usual, way, width = saved
    return Node(taken, int(rest, 16), int(counting, 16), before, usual, way, max(width, 1))


def _branches(saved: _SavedBranches) -> Branches:
    path, first, last, count = saved
    return Branches(tuple(path), first, last, count)
