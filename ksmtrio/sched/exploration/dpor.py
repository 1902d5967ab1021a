# SPDX-License-Identifier: GPL-2.0-or-later
"""Dynamic partial order reduction: one execution for each happens-before class.

Two executions that order all conflicting accesses alike are the same to the program. After each
execution every race in it, two conflicting events with nothing in between, is turned round: the
explorer plans an execution in which the later comes first, unless one like it was explored or is
planned. The optimal mode plans whole sequences, kept in wakeup trees, so that no execution is begun
in vain; the source-set mode plans single events and may find later that all that could run was
explored elsewhere: such an execution is redundant, and cut short.

What conflicts is what `footprint` records. An execution that a finding ends hides what the others
would have done: from the state before its last event everybody else is let run as well. Executions
that differ only in how far unrelated actors had come by then count as one. For the same reason an
oracle that compares two words at a time may see less than under brute force: two changes that do
not conflict come in one order only, and what holds between them in the other order is not looked
at. What an oracle says of a word, of an answer or of the final state does not depend on that.

Tests: `tests/unit/test_dpor.py`, `tests/property/test_dpor.py`.

Source: Abdulla, Aronis, Jonsson, Sagonas, "Source Sets: A Foundation for Optimal Dynamic Partial
Order Reduction", J. ACM 64(4), 2017. The preemption bound: Coons, Musuvathi, McKinley, "Bounded
Partial-Order Reduction", OOPSLA 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Counts, Covered, SavedState, Settings
from ksmtrio.sched.exploration.dpor_events import UNKNOWN, Event, Names, Order
from ksmtrio.sched.exploration.dpor_guide import Guide, awake
from ksmtrio.sched.exploration.dpor_plans import (
    Node,
    Race,
    by_actor,
    by_first_event,
    by_sequence,
)
from ksmtrio.sched.exploration.dpor_state import Left, load_search, save_search
from ksmtrio.sched.exploration.dpor_tree import Branch
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.tap import READ, WRITE, Tap

MODES: Final = ("optimal", "source")
"""What `Settings.mode` may be; the first is the default."""

_PLANNED_PER_MB: Final = 2_000
"""Events that may be planned for each MB; what goes beyond is dropped, and said so."""

_WHOLE: Final = frozenset({"done", "hung"})
"""Ways to end that hide nothing: no actor was enabled any more."""

_STEP_BOUND: Final = "step bound"


class Dpor:
    """Explorer by partial orders.

    Its memory is the path of the present execution and what is planned along it. It does not
    terminate on a loop that waits for others by yielding, as it has infinitely many executions.

    Args:
        settings: mode ``optimal``, which takes no bound, or ``source``.

    Raises:
        BadInput: a bound for the optimal mode.
    """

    def __init__(self, settings: Settings) -> None:
        optimal = settings.mode in ("", MODES[0])
        if optimal and settings.bound is not None:
            raise BadInput("dpor: the optimal mode takes no preemption bound; choose mode source")
        self.counts = Counts()
        self.complete = False
        self._bound = settings.bound
        self._optimal = optimal
        self._plan = by_sequence if optimal else by_first_event
        if self._bound is not None:
            self._plan = by_actor
        self._planned_max = settings.memory * _PLANNED_PER_MB
        self._names = Names()
        self._order = Order()
        self._nodes = [Node({}, [])]
        self._guide: Guide | None = None
        self._left = Left()
        self._planned = 0

    # -- the protocol of explorers ---------------------------------------------------------------

    def next(self) -> Strategy | None:
        """Return the strategy of the next execution; None when all were explored."""
        if not self._nodes:
            return None
        node = self._nodes[-1]
        plan = list(self._order.events)
        tree = node.tree
        while tree:
            plan.append(tree[0].event)
            tree = tree[0].children
        asleep = {} if self._bound is not None else node.asleep
        self._guide = Guide(plan, len(self._order.events), asleep, self._names)
        return self._guide

    def taps(self) -> Tap | None:
        """Return the recorder of the execution just handed out."""
        return None if self._guide is None else self._guide.tap

    def learn(self, stop_reason: str) -> None:
        """Take in what came of the execution just handed out, and plan what follows from it."""
        guide = self._guide
        assert guide is not None
        self._guide = None
        guide.finish()
        self._count(guide, stop_reason)
        races = self._extend(guide)
        for race in races:
            self._turn_round(race)
        if not guide.redundant:
            self._plan_kept_out(guide)
            if stop_reason not in _WHOLE:
                self._plan_hidden()
        self._retreat()
        self._settle()

    def covered(self) -> Covered:
        """Return what was covered, and which bound was hit.

        What the bound counts is not what it counts elsewhere (`Preemptions`), so it has a name of
        its own: to wake a sleeper early and to choose otherwise than by default is free here.
        """
        left = self._left
        text = "one execution for each happens-before class"
        if not self._optimal:
            text = "an execution for each happens-before class"
        if self._bound is not None:
            switches = f"{self._bound} switch{'es' * (self._bound != 1)}"
            text += f" with at most {switches} away from an actor that could go on"
            if not left.over_bound:
                text += " (no other was met)"
        if self._nodes:
            text += f"; not done: {self.work_left()} planned executions are left"
        if left.dropped:
            text += f"; not all: {left.dropped} plans were dropped for want of memory"
        if left.endless:
            text += f"; not all: {left.endless} executions were cut off by the step bound"
        return Covered(int(not self.complete), text)

    def work_left(self) -> int:
        """Return how many executions are planned; each may lead to more."""
        if not self._begun:
            return 1
        return sum(branch.leaves() for node in self._nodes for branch in node.tree)

    def save(self) -> SavedState:
        """Return the path of the present execution and what is planned along it."""
        return save_search(self._names, self._order, self._nodes, self.counts, self._left)

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            BadInput: the state is none of this explorer.
        """
        loaded = load_search(state)
        self._names, self._order, self._nodes = loaded.names, loaded.order, loaded.nodes
        self.counts, self._left = loaded.counts, loaded.left
        self._planned = sum(_size(branch) for node in self._nodes for branch in node.tree)
        self._settle()

    def split(self, parts: int) -> list[SavedState]:
        """Give nothing away: a race in one branch may plan executions in any other."""
        return []

    @property
    def _begun(self) -> bool:
        return self.counts.executions + self.counts.redundant + self.counts.blocked > 0

    def _settle(self) -> None:
        left = self._left
        self.complete = not self._nodes and not left.dropped and not left.endless

    # -- one execution ----------------------------------------------------------------------------

    def _count(self, guide: Guide, stop_reason: str) -> None:
        self._left.endless += stop_reason == _STEP_BOUND
        if stop_reason == "pruned":
            self.counts.blocked += 1
        elif guide.redundant:
            self.counts.redundant += 1
        else:
            self.counts.executions += 1

    def _extend(self, guide: Guide) -> list[Race]:
        """Append the new events and their states; return the races of these events."""
        races: list[Race] = []
        order, nodes = self._order, self._nodes
        begin = len(order.events)
        rest: list[Branch] = []
        for event, asleep in zip(guide.events, guide.asleep, strict=False):
            position = len(order.events)
            if position > begin:
                kept = {} if self._bound is not None else dict(asleep)
                nodes.append(Node(kept, rest, self._preemptions(position)))
            node = nodes[position]
            node.enabled = guide.enabled.get(position, ())
            node.free = not node.enabled or position in guide.free
            rest = self._enter(node)
            rivals = order.push(event)
            past = order.past[position]
            races.extend(Race(earlier, event, position, past) for earlier in rivals)
            if event.widths:
                self._plan_choices(node, event)
        self._planned -= sum(map(_size, rest))
        return races

    def _enter(self, node: Node) -> list[Branch]:
        """Take the branch that is being executed off a tree; return what is below it."""
        if not node.tree:
            return []
        self._planned -= 1
        return node.tree.pop(0).children

    def _preemptions(self, position: int) -> int:
        """Return how many preemptions it took to get to a position, from those before."""
        before = self._nodes[position - 1]
        return before.preemptions + self._costs(position - 1, self._order.events[-1].actor)

    def _costs(self, position: int, actor: int) -> bool:
        """Return whether it takes a preemption to let an actor run at a position."""
        if not position or self._nodes[position].free:
            return False
        return actor != self._order.events[position - 1].actor

    # -- what follows from it ---------------------------------------------------------------------

    def _turn_round(self, race: Race) -> None:
        if self._planned >= self._planned_max:
            self._left.dropped += 1
            return
        self._planned += self._plan(self._order, self._nodes, race)

    def _plan_choices(self, node: Node, event: Event) -> None:
        """Plan the other outcomes of the choices taken in an event."""
        for choices in event.alternatives():
            if choices != event.choices:
                self._planned += node.plan(Event((event.actor, choices), UNKNOWN))

    def _plan_kept_out(self, guide: Guide) -> None:
        """Let those who were kept out of a lock to the end have it first."""
        end = len(self._order.events)
        for actor, lock in guide.kept_out():
            earlier, past = self._order.rival(actor, lock)
            if earlier is not None:
                footprint = self._names.of_items(((lock, READ | WRITE),))
                event = Event((actor, ()), footprint, lock=lock)
                self._turn_round(Race(earlier, event, end, past))

    def _plan_hidden(self) -> None:
        """Let all others run from the state before the event that ended the execution."""
        position = len(self._order.events) - 1
        node, last = self._nodes[position], self._order.events[position]
        for actor in node.enabled:
            choices = awake(actor, node.asleep)
            if actor != last.actor and choices is not None:
                self._planned += node.plan(Event((actor, choices), UNKNOWN))

    def _retreat(self) -> None:
        """Go back to the last state from which there is something left to execute."""
        order, nodes = self._order, self._nodes
        while nodes:
            node = nodes[-1]
            if len(order.events) == len(nodes):
                event = order.events[-1]
                node.asleep[event.key] = event
                order.pop()
            while node.tree and not self._worthwhile(node, node.tree[0].event):
                self._planned -= _size(node.tree.pop(0))
            if node.tree:
                return
            nodes.pop()

    def _worthwhile(self, node: Node, event: Event) -> bool:
        if event.key in node.asleep:
            return False
        if self._bound is None:
            return True
        costs = node.preemptions + self._costs(len(self._nodes) - 1, event.actor)
        self._left.over_bound += costs > self._bound
        return costs <= self._bound


def _size(branch: Branch) -> int:
    """Return the number of events of a branch."""
    count, todo = 0, [branch]
    while todo:
        count += 1
        todo.extend(todo.pop().children)
    return count
