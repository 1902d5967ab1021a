# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of an exploration by partial orders as plain data, to go on with later.

Tests: `tests/unit/test_dpor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Counts, SavedState
from ksmtrio.sched.exploration.dpor_events import UNKNOWN, Event, Footprint, Names, Order
from ksmtrio.sched.exploration.dpor_plans import Node
from ksmtrio.sched.exploration.dpor_tree import Branch

_Items: TypeAlias = tuple[tuple[int, int], ...]


@attrs.define
class Left:
    """What an exploration left out.

    Attributes:
        dropped: plans for which there was no memory.
        over_bound: plans beyond the preemption bound.
        endless: executions that ran into the step bound.
    """

    dropped: int = 0
    over_bound: int = 0
    endless: int = 0


class _SavedEvent(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """An event; `footprint` is None if it is unknown."""

    actor: int
    choices: tuple[int, ...]
    footprint: _Items | None
    woken_by: int | None
    widths: tuple[int, ...]
    lock: int


class _SavedBranch(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A branch: its event, and how many branches of the list that follow are its children."""

    event: _SavedEvent
    children: int


class _SavedNode(msgspec.Struct, forbid_unknown_fields=True):
    asleep: list[_SavedEvent]
    tree: list[_SavedBranch]
    enabled: tuple[int, ...]
    free: bool
    preemptions: int


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]
    events: list[_SavedEvent]
    nodes: list[_SavedNode]
    counts: tuple[int, int, int]
    left: tuple[int, int, int]


@attrs.frozen
class Search:
    """A loaded state."""

    names: Names
    order: Order
    nodes: list[Node]
    counts: Counts
    left: Left


def save_search(
    names: Names, order: Order, nodes: list[Node], counts: Counts, left: Left
) -> SavedState:
    """Return the state as plain data."""
    saved = _Saved(
        list(names.numbers),
        [_save_event(event) for event in order.events],
        [_save_node(node) for node in nodes],
        (counts.executions, counts.redundant, counts.blocked),
        (left.dropped, left.over_bound, left.endless),
    )
    state: SavedState = msgspec.to_builtins(saved)
    return state


def load_search(state: Mapping[str, Any]) -> Search:
    """Return a saved state.

    Raises:
        BadInput: it is none.
    """
    try:
        saved = msgspec.convert(state, _Saved)
    except msgspec.ValidationError as error:
        raise BadInput(f"this is no saved state of dpor: {error}") from error
    if saved.nodes and len(saved.nodes) != len(saved.events) + 1:
        raise BadInput("this is no saved state of dpor: its path has gaps")
    names, order = Names(saved.names), Order()
    for event in saved.events:
        order.push(_load_event(event, names))
    nodes = [_load_node(node, names) for node in saved.nodes]
    executions, redundant, blocked = saved.counts
    counts = Counts(executions=executions, redundant=redundant, blocked=blocked)
    return Search(names, order, nodes, counts, Left(*saved.left))


def _save_event(event: Event) -> _SavedEvent:
    footprint = None if event.footprint is UNKNOWN else event.footprint.items
    return _SavedEvent(
        event.actor, event.choices, footprint, event.woken_by, event.widths, event.lock
    )


def _load_event(saved: _SavedEvent, names: Names) -> Event:
    footprint: Footprint = UNKNOWN
    if saved.footprint is not None:
        footprint = names.of_items(saved.footprint)
    return Event(
        (saved.actor, saved.choices),
        footprint,
        woken_by=saved.woken_by,
        widths=saved.widths,
        lock=saved.lock,
    )


def _save_node(node: Node) -> _SavedNode:
    return _SavedNode(
        [_save_event(event) for event in node.asleep.values()],
        _save_tree(node.tree),
        node.enabled,
        node.free,
        node.preemptions,
    )


def _load_node(saved: _SavedNode, names: Names) -> Node:
    asleep = [_load_event(event, names) for event in saved.asleep]
    tree = _load_tree(saved.tree, names)
    node = Node({event.key: event for event in asleep}, tree, saved.preemptions)
    node.enabled, node.free = saved.enabled, saved.free
    return node


def _save_tree(tree: list[Branch]) -> list[_SavedBranch]:
    """Return a tree in the order in which one walks down it, the last branch first."""
    saved, todo = [], list(tree)
    while todo:
        branch = todo.pop()
        saved.append(_SavedBranch(_save_event(branch.event), len(branch.children)))
        todo.extend(branch.children)
    return saved


def _load_tree(saved: list[_SavedBranch], names: Names) -> list[Branch]:
    """Build a tree from its end, where all children of a branch are at hand when it comes."""
    ready: list[Branch] = []
    for one in reversed(saved):
        branch = Branch(_load_event(one.event, names))
        if not 0 <= one.children <= len(ready):
            raise BadInput("this is no saved state of dpor: a tree lacks branches")
        begin = len(ready) - one.children
        branch.children = ready[begin:]
        del ready[begin:]
        ready.append(branch)
    return ready
