# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that the literature measures on: each has the bug it is named for, and no other.

Exact schedules show the bugs; searches of all schedules, or of many, show that corrected programs
have none, and count inequivalent executions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from ksmtrio.execution import run_subject
from ksmtrio.sched.footprint import Footprints
from ksmtrio.sched.strategies import StrategySpec
from tests.exploring_classes import class_of
from tests.harness import Turns
from tests.quality.catalogue import PROGRAMS, Entry, catalogue, every_execution, search

ENTRIES = catalogue().values()
FILES = sorted(PROGRAMS.glob("*.py"))


def shown(program: str, *turns: str) -> tuple[str, ...]:
    """Return the signatures of one exact schedule, without their points."""
    outcome = run_subject(catalogue()[program].subject(), Turns(*turns))
    return tuple(signature.partition("@")[0] for signature in outcome.signatures())


def instances(path: Path) -> list[str]:
    """Return the names that are bound at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return [node.targets[0].id for node in assigned if isinstance(node.targets[0], ast.Name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_instance_of_a_file_is_in_the_catalogue(path: Path) -> None:
    listed = [entry.program for entry in ENTRIES if entry.program.startswith(f"{path.name}:")]
    assert sorted(listed) == sorted(f"{path.name}:{name}" for name in instances(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_where_its_program_is_from_and_what_the_bug_is(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "Source:" in text
    deep = {entry.depth for entry in ENTRIES if entry.program.startswith(f"{path.name}:")}
    said = {int(number) for number in re.findall(r"\b[Dd]epth (\d)", text)}
    assert said == deep - {None}
    assert "No bug." in text if not said else "Bug" in text


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_program_runs_to_its_end_or_to_its_own_bug(entry: Entry) -> None:
    subject = entry.subject()
    for seed in range(4):
        outcome = run_subject(subject, StrategySpec("random", seed))
        kinds = {signature.partition("@")[0] for signature in outcome.signatures()}
        assert kinds <= {entry.finding, *entry.also}
        assert kinds or outcome.stop_reason == "done"


def test_no_two_instances_share_a_name() -> None:
    names = [name for path in FILES for name in instances(path)]
    assert len(names) == len(set(names)) == len(catalogue())


# -- bugs, each on one exact schedule --------------------------------------------------------------

SCHEDULES: dict[str, Sequence[str]] = {
    "lost_update_2": ("adder0@add.2", "adder1", "adder0"),
    "lost_update_3": ("adder0@add.2", "adder1", "adder2", "adder0"),
    "lost_update_4": ("adder0@add.2", "adder1", "adder2", "adder3", "adder0"),
    "reorder_2_setters": ("checker0@check.2", "setter0", "checker0"),
    "reorder_3_setters": ("setter0@set.2", "checker0"),
    "reorder_4_setters": ("setter0@set.2", "setter1@set.2", "checker0"),
    "reorder_3": ("checker0@check.2", "setter1", "checker0"),
    "reorder_4": ("checker0@check.2", "setter1", "checker0"),
    "reorder_5": ("setter3@set.2", "checker0"),
    "reorder_10": ("checker0@check.2", "setter8", "checker0"),
    "reorder_20": ("checker9@check.2", "setter0", "checker9"),
    "reorder_50": ("setter7@set.2", "checker0"),
    "reorder_100": ("checker0@check.2", "setter98", "checker0"),
    "twostage": ("writer0@write.4", "reader"),
    "twostage_2": ("writer1@write.4", "reader"),
    "twostage_100": ("writer50@write.4", "reader"),
    "account": ("deposit", "withdraw", "check"),
    "bluetooth_driver": ("add@inc.4", "stop", "add"),
    "carter01": ("a1@leave.1", "b1", "a1"),
    "circular_buffer": ("receiver@receive.5", "receiver@receive.1", "sender", "receiver"),
    "deadlock01": ("up@count.2", "down", "up"),
    **{
        f"din_phil_{nr}": tuple(f"philosopher{number}@dine.2" for number in range(nr))
        for nr in range(2, 8)
    },
    **{f"din_phil_{nr}_sat": ("philosopher0",) for nr in range(2, 8)},
    "fsbench": ("creator26",),
    "lazy01": ("one", "two", "check"),
    "phase01": ("t1", "t2"),
    "queue": ("consumer@consume.6", "consumer@consume.1", "producer", "consumer"),
    "stack": ("pusher@push.6", "pusher@push.1", "popper"),
    "sync01": ("producer", "consumer"),
    "sync02": ("producer", "consumer"),
    "token_ring": ("t2", "t1", "t3", "check"),
    "wronglock": ("looker@look.3", "other6", "looker"),
    "wronglock_3": ("looker@look.3", "other0", "looker"),
    "work_stealing_queue": ("thief@steal.4", "owner", "thief"),
    "spidermonkey_1": ("gc@gc.3", "clear", "gc"),
    "spidermonkey_2": ("gc@gc.5", "new_context", "gc"),
    "nspr_1": ("t1@make.2", "t2@localtime.6", "t1"),
    "nspr_2": ("waiter@wait.2", "interrupter", "waiter"),
    "nspr_3": ("reader@rlock.8", "reader@rlock.1", "writer", "reader"),
    "memcached": ("client0@incr.4", "client1", "client0"),
    "apache_pools": ("taker@take.3", "giver", "taker"),
    "aget": ("handler@save.3", "download", "handler"),
    "pbzip2": ("consumer@consume.4", "main", "consumer"),
    "stringbuffer": ("appender@append.4", "changer@change.4", "appender"),
    "cve_2009_3547": ("open@open.1", "release", "open"),
    "cve_2011_2183": ("ksmd@scan.2", "exit", "ksmd"),
    "cve_2013_1792": ("t1@install.5", "t2"),
    "cve_2015_7550": ("read@read.2", "revoke", "read"),
    "cve_2016_9806": ("t1@call.6", "t2", "t1"),
    "cve_2017_6346": ("t1@call.6", "t2", "t1"),
    "cve_2017_15265": ("create@create.4", "delete", "create"),
}


@pytest.mark.parametrize("program", SCHEDULES)
def test_bug_is_shown_by_one_exact_schedule(program: str) -> None:
    entry = catalogue()[program]
    assert shown(program, *SCHEDULES[program]) == (*entry.also, entry.finding)


def test_every_buggy_program_has_its_schedule() -> None:
    assert set(SCHEDULES) == {entry.name for entry in ENTRIES if entry.finding}


# -- how deep they are -----------------------------------------------------------------------------

TOO_LARGE = re.compile(r".*_(5|6|7|10|20|50|100)|din_phil_7_sat|fsbench|wronglock")
LARGE = {"reorder_4_setters", "reorder_4", "wronglock_3", "din_phil_4", "carter01", "twostage_2"}
SMALL = [
    pytest.param(entry, marks=pytest.mark.slow if entry.name in LARGE else ())
    for entry in ENTRIES
    if entry.finding and not TOO_LARGE.fullmatch(entry.name)
]


@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.name)
def test_bug_needs_as_many_holds_as_its_depth_says_and_no_fewer(entry: Entry) -> None:
    subject = entry.subject()
    for holds in range(entry.depth - 1):
        fewer = search(subject, at_most=5_000, preemptions=holds)
        assert fewer.whole
        assert not fewer.signatures
    enough = search(subject, at_most=20_000, preemptions=entry.depth - 1)
    assert any(signature.startswith(f"{entry.finding}@") for signature in enough.signatures)


# -- corrected ones --------------------------------------------------------------------------------

SOUND = [entry for entry in ENTRIES if entry.finding is None]


@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry.name)
def test_program_without_a_bug_shows_none_in_many_executions(entry: Entry) -> None:
    assert search(entry.subject(), at_most=60).signatures == frozenset()


@pytest.mark.slow
@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry.name)
def test_program_without_a_bug_shows_none_in_very_many_executions(entry: Entry) -> None:
    assert search(entry.subject(), at_most=20_000).signatures == frozenset()


# -- inequivalent executions -----------------------------------------------------------------------


def count_classes(program: str) -> int:
    """Return the number of inequivalent executions, found by looking at all."""
    seen = set()
    taps: list[Footprints] = []

    def recorder() -> Footprints:
        taps[:] = [Footprints()]
        return taps[0]

    subject = catalogue()[program].subject()
    for _ in every_execution(subject, at_most=100_000, recorder=recorder):
        seen.add(class_of(taps[0].steps))
    return len(seen)


@pytest.mark.parametrize("program", ["lost_update_2", "readers_2", "indexer_2"])
def test_a_look_at_every_execution_counts_as_many_inequivalent_ones(program: str) -> None:
    assert count_classes(program) == catalogue()[program].executions


@pytest.mark.slow
@pytest.mark.parametrize("program", ["lost_update_3", "reorder_2_setters", "lastzero_2"])
def test_a_look_at_every_execution_of_larger_ones_does_too(program: str) -> None:
    assert count_classes(program) == catalogue()[program].executions
