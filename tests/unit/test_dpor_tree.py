# SPDX-License-Identifier: GPL-2.0-or-later
"""Wakeup trees: what is inserted, and what is covered already."""

from __future__ import annotations

from ksmtrio.sched.exploration.dpor_events import Event, Names
from ksmtrio.sched.exploration.dpor_tree import Branch, Word, holds, insert, redundant
from ksmtrio.sched.tap import READ, WRITE

NAMES = Names()


def event(actor: int, word: str, kind: int = WRITE, choices: tuple[int, ...] = ()) -> Event:
    return Event((actor, choices), NAMES.of({word: kind}))


def shape(tree: list[Branch]) -> list[object]:
    return [(branch.event.actor, shape(branch.children)) for branch in tree]


def test_a_word_may_begin_with_what_nothing_before_it_conflicts_with() -> None:
    word = Word([event(0, "x"), event(1, "y"), event(2, "x")])
    assert word.may_begin_with(event(0, "x"))
    assert word.may_begin_with(event(1, "y"))
    assert not word.may_begin_with(event(2, "x"))


def test_a_word_may_begin_with_what_commutes_with_all_of_it() -> None:
    word = Word([event(0, "x", READ)])
    assert word.may_begin_with(event(1, "x", READ))
    assert not word.may_begin_with(event(1, "x"))


def test_another_choice_is_another_event() -> None:
    assert not Word([event(0, "x")]).may_begin_with(event(0, "x", WRITE, (1,)))
    assert not redundant([event(0, "x")], [event(0, "x", WRITE, (1,))])


def test_a_sequence_is_redundant_after_an_event_it_may_begin_with() -> None:
    assert redundant([event(0, "x"), event(1, "y")], [event(1, "y")])
    assert not redundant([event(0, "x"), event(1, "x")], [event(1, "x")])


def test_sequences_share_what_they_can_and_branch_where_they_conflict() -> None:
    tree: list[Branch] = []
    assert insert([event(0, "x"), event(1, "x"), event(2, "y")], tree) == 3
    assert insert([event(0, "x"), event(2, "y"), event(1, "x"), event(3, "z")], tree) == 0
    assert insert([event(1, "x"), event(0, "x")], tree) == 2
    assert insert([event(0, "x"), event(3, "x")], tree) == 1
    assert shape(tree) == [(0, [(1, [(2, [])]), (3, [])]), (1, [(0, [])])]
    assert [branch.leaves() for branch in tree] == [2, 1]
    assert holds(tree, (1, ()))
    assert not holds(tree, (3, ()))
