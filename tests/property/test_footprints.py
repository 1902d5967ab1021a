# SPDX-License-Identifier: GPL-2.0-or-later
"""Transitions without a conflict commute: partial orders and quiet transitions rest on that.

An execution is shuffled as its footprints allow. A shared word that some function touches without
telling it shows as a difference.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.execution import run_subject
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import builtin_groups, load_scenario, parse_scenario
from ksmtrio.scenario.schema import Scenario
from ksmtrio.sched.footprint import Footprints, dependent
from ksmtrio.sched.strategies import resolve
from ksmtrio.sched.tap import WRITE
from ksmtrio.subject import KernelSubject
from tests import commuting
from tests.commuting import first_difference
from tests.property.test_executions import PROGRAMS, TEMPLATE, actor

LIBRARY = [name for group, names in builtin_groups().items() if group != "pairs" for name in names]
PAIRS = builtin_groups()["pairs"]
OFF = ("offline_locks_out_ksm", "recheck_ksm_under_page_lock", "search_returns_page")


@pytest.mark.parametrize("without", [(), OFF], ids=["full", "off"])
@pytest.mark.parametrize("name", [*LIBRARY, *PAIRS[::8]])
def test_shuffled_execution_comes_to_the_same(name: str, without: tuple[str, ...]) -> None:
    subject = KernelSubject(load_scenario(name), build_kernel(without=without))
    assert first_difference(subject, 1) is None


@given(programs=PROGRAMS, seed=st.integers(0, 10**6), turn=st.sampled_from((1, 4, 16)))
@settings(max_examples=25)
def test_any_program_shuffled_comes_to_the_same(
    programs: list[tuple[str, list[str]]], seed: int, turn: int
) -> None:
    text = TEMPLATE + "".join(actor(i, p, ops) for i, (p, ops) in enumerate(programs))
    subject = KernelSubject(parse_scenario(text, "drawn"), build_kernel())
    assert first_difference(subject, seed, turn=turn) is None


UNCELLED = """
format = 1
name = "uncelled"
[machine]
blocks_per_node = 1
pages_per_block = 8
[[process]]
name = "A"
[[process.vma]]
pages = 2
contents = [1, 2]
[[process]]
name = "C"
at = "fork"
forked_from = "A"
[[actor]]
name = "one"
kind = "user_task"
process = "A"
program = [{ op = "pin", page = 0 }, { op = "fork", child = "C" }]
[[actor]]
name = "two"
kind = "user_task"
process = "A"
program = [
    { op = "unpin", page = 0 },
    { op = "query_pages", pages = [1], target = "C" },
    { op = "kill", actor = "one" },
]
[[actor]]
name = "child"
kind = "user_task"
process = "C"
program = [{ op = "load", page = 0 }]
"""


@pytest.mark.parametrize(
    ("scenario", "name", "changes", "sees"),
    [
        (parse_scenario(UNCELLED, "unit"), "pipe(A)", "one", "two"),
        (parse_scenario(UNCELLED, "unit"), "process C", "one", "two"),
        (parse_scenario(UNCELLED, "unit"), "task one", "one", "two"),
        (load_scenario("pair_kswapd_mbind"), "bios", "kswapd", "writeback"),
    ],
)
def test_what_is_no_cell_is_told_by_all_who_touch_it(
    scenario: Scenario, name: str, changes: str, sees: str
) -> None:
    subject = KernelSubject(scenario, build_kernel())
    actors = [spec.name for spec in scenario.actors]
    kinds = dict.fromkeys(actors, 0)
    for seed in range(4):
        footprints = Footprints()
        plan = resolve("random", seed)
        run_subject(subject, plan, recorder=footprints, marks=False, host="bare")
        for step in footprints.steps:
            if step.actor < len(actors):
                kinds[actors[step.actor]] |= step.accesses.get(name, 0)
    assert kinds[changes] & WRITE
    assert kinds[sees]


@pytest.mark.parametrize("kind", ["page(", "mm(", "zone("])
def test_shuffle_shows_words_that_footprints_do_not_tell(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(one: dict[str, int], other: dict[str, int]) -> bool:
        one, other = ({n: a[n] for n in a if not n.startswith(kind)} for a in (one, other))
        return dependent(one, other)

    monkeypatch.setattr(commuting, "dependent", deaf)
    subject = KernelSubject(load_scenario("everything"), build_kernel(without=OFF))
    assert any(first_difference(subject, seed, turn=3) for seed in range(4))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LIBRARY, *PAIRS])
@pytest.mark.parametrize("without", [(), OFF], ids=["full", "off"])
def test_many_shuffled_executions_come_to_the_same(name: str, without: tuple[str, ...]) -> None:
    subject = KernelSubject(load_scenario(name), build_kernel(without=without))
    for seed in range(20):
        assert first_difference(subject, seed, turn=1 + 3 * (seed % 5)) is None, seed
