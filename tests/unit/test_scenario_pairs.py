# SPDX-License-Identifier: GPL-2.0-or-later
"""The pairs: every two members meet once, and what a member needs is there."""

from __future__ import annotations

import pytest

from ksmtrio.scenario import builtin_groups, load_scenario, sample_names
from ksmtrio.scenario.pairs import MEMBERS, pair_names, pair_text, sample_of_pairs


def test_every_two_members_meet_once() -> None:
    met = {frozenset(a.name for a in load_scenario(n).actors[:2]) for n in pair_names()}
    assert len(met) == len(pair_names()) == len(MEMBERS) * (len(MEMBERS) - 1) // 2
    assert pair_names() == builtin_groups()["pairs"]


def test_the_text_is_the_scenario() -> None:
    name = pair_names()[0]
    assert load_scenario(name).text == pair_text(name) == pair_text(name)


def test_members_of_one_process_are_its_threads_but_who_exits_is_a_fork() -> None:
    both = load_scenario("pair_mbind_fault")
    assert [actor.process for actor in both.actors] == ["A", "A"]
    one = load_scenario("pair_mbind_exit")
    assert [actor.process for actor in one.actors] == ["A", "F"]
    assert one.processes[-1].forked_from == "A"
    remote = load_scenario("pair_migrate_pages_exit")
    assert [actor.process for actor in remote.actors] == ["B", "A"]
    assert remote.actors[0].program[0].args["target"] == "A"
    other = load_scenario("pair_ksmd_exit")
    assert [actor.process for actor in other.actors] == [None, "A"]


@pytest.mark.parametrize("name", [n for n in pair_names() if "swap" in n])
def test_there_is_swap_where_a_member_needs_it(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.machine.swap_slots
    assert [actor.kind for actor in scenario.actors][-1] == "writeback"
    places = {vma.swap for process in scenario.processes for vma in process.vmas}
    assert ("cache" if "swapoff" in name else "mapped") in places


def test_every_member_is_in_the_sample() -> None:
    sample = sample_of_pairs()
    actors = {actor.name for name in sample for actor in load_scenario(name).actors}
    assert actors >= set(MEMBERS)
    assert set(sample) <= set(sample_names())
