# SPDX-License-Identifier: GPL-2.0-or-later
"""Every step of the specification is in the code, or a line in `waivers.toml` says why not.

The first test compares the real thing; the others doctor one side and look whether it is noticed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import attrs
import pytest

from tests.specification import spec_map
from tests.specification.spec_map import Function, Map, Waiver, figures, problems

REAL = cache(spec_map.load)


def row(label: str, tag: str, file: str = "ksmtrio/mm/f.py") -> dict[str, Any]:
    """Return a point as ``ksmtrio list points --json`` prints it."""
    function, _, step = label.partition(".")
    number = step.partition("/")[0].partition("#")[0]
    full = f"{tag}.{number}" if tag else ""
    return {"label": label, "function": function, "tag": tag, "step": full, "file": file}


SMALL = Map(
    functions=(
        Function("FA", "fa", (1, 2, 3)),
        Function("FB", "fb", (1, 2)),
        Function("PF", "put_page", (1, 2)),
        Function("PR", "prose", ()),
    ),
    rows=(
        row("fa.1", "FA"),
        row("fa.2.4.1", "FA"),
        row("fa.3b#2", "FA"),
        row("fb.1/put_page", "FB"),
        row("put_page.2", "PF"),
        row("prose.1", "PR"),
        row("helper.1", ""),
    ),
    documented={"PR": (1, 2)},
    waivers={
        "FB.2": Waiver("guarded by a_lock", "the list"),
        "PR.2": Waiver("purely local", "calls FA"),
    },
    locks=frozenset({"a_lock"}),
)


def without(of: Map, step: str) -> Map:
    """Return the map without the points at a step."""
    kept = [r for r in of.rows if step not in of.steps_of(r)]
    return attrs.evolve(of, rows=kept)


def waiving(step: str, reason: str, note: str = "why") -> Map:
    """Return the small map with one more waiver."""
    return attrs.evolve(SMALL, waivers={**SMALL.waivers, step: Waiver(reason, note)})


def test_every_step_of_the_specification_has_a_point_or_a_waiver() -> None:
    found = problems(REAL())
    assert not found, "specification and code differ:\n" + "\n".join(found)


def test_a_small_complete_map_has_no_problems() -> None:
    assert problems(SMALL) == []


@pytest.mark.parametrize("step", ["FA.1", "FA.2", "FA.3", "FB.1", "PF.1", "PF.2", "PR.1"])
def test_a_dropped_point_is_noticed(step: str) -> None:
    found = problems(without(SMALL, step))
    assert f"{step}: neither a point with this label nor a line in waivers.toml" in found


def test_dropping_the_points_of_any_step_is_noticed() -> None:
    real = REAL()
    steps = real.covered
    assert len(steps) > 300
    for step in sorted(steps):
        noticed = [p for p in problems(without(real, step)) if p.startswith(f"{step}:")]
        assert noticed, f"nobody would notice that the points at {step} are gone"


@pytest.mark.parametrize(
    ("renamed", "problem"),
    [
        (row("fa.9", "FA"), "fa.9: FA.9 is no step of FA"),
        (row("fa.zero", "FA"), "fa.zero: FA.zero is no step of FA"),
        (row("other.1", "FA"), "other.1: FA is fa; others may only carry its nested steps"),
        (row("fa.1", "FZ"), "fa.1: the specification has no tag FZ"),
        (row("prose.3", "PR"), "prose.3: PR.3 is no step of PR"),
    ],
)
def test_a_point_that_is_no_step_is_noticed(renamed: dict[str, Any], problem: str) -> None:
    assert problems(attrs.evolve(SMALL, rows=[*SMALL.rows, renamed])) == [problem]


def test_a_function_that_does_a_part_carries_nested_steps_of_the_whole() -> None:
    assert problems(attrs.evolve(SMALL, rows=[*SMALL.rows, row("part.2.4", "FA")])) == []


def test_a_renamed_point_is_a_missing_one() -> None:
    rows = [row("fa.1", "") if r["label"] == "fa.1" else r for r in SMALL.rows]
    (problem,) = problems(attrs.evolve(SMALL, rows=rows))
    assert problem == "FA.1: neither a point with this label nor a line in waivers.toml"


@pytest.mark.parametrize(
    ("doctored", "problem"),
    [
        (waiving("FA.4", "purely local"), "waiver of FA.4: no such step"),
        (waiving("FZ.1", "purely local"), "waiver of FZ.1: no such step"),
        (waiving("PR.3", "purely local"), "waiver of PR.3: no such step"),
        (
            waiving("FA.1", "purely local"),
            "waiver of FA.1: the step has a point; delete the line",
        ),
        (
            waiving("FB.2", "guarded by no_lock"),
            "waiver of FB.2: no lock is named no_lock",
        ),
        (
            waiving("FB.2", "too hard"),
            "waiver of FB.2: the reason is `purely local` or `guarded by LOCK`",
        ),
        (waiving("FB.2", "purely local", ""), "waiver of FB.2: say why in a few words"),
        (
            waiving("FB.2", "purely local", "calls FZ"),
            "waiver of FB.2: calls FZ, which is no tag",
        ),
    ],
)
def test_a_dead_or_a_bad_waiver_is_noticed(doctored: Map, problem: str) -> None:
    assert problem in problems(doctored)


def test_waivers_stay_under_a_third() -> None:
    bare = attrs.evolve(SMALL, rows=[r for r in SMALL.rows if r["label"] != "fa.1"])
    many = attrs.evolve(bare, waivers={**bare.waivers, "FA.1": Waiver("purely local", "x")})
    assert problems(many) == ["3 of 8 entries are waived: under a third may be"]


@pytest.mark.parametrize(
    ("documented", "problem"),
    [
        ({}, "PR: prose; write `Steps of PR:` into the docstring"),
        ({"PR": (1, 3)}, "PR: the docstring numbers its steps (1, 3), not from 1 on"),
        ({"PR": (1, 2, 3)}, "PR.3: neither a point with this label nor a line in waivers.toml"),
        (
            {"PR": (1, 2), "FA": (1,)},
            "FA: its docstring numbers (1,), the specification not",
        ),
    ],
)
def test_prose_is_numbered_by_the_docstring(
    documented: dict[str, tuple[int, ...]], problem: str
) -> None:
    assert problem in problems(attrs.evolve(SMALL, documented=documented))


def test_a_prose_section_needs_a_point() -> None:
    waived = {**SMALL.waivers, "PR.1": Waiver("purely local", "x")}
    found = problems(attrs.evolve(without(SMALL, "PR.1"), waivers=waived))
    assert "PR: prose, but not one point carries its tag" in found


def test_steps_are_read_from_docstrings() -> None:
    source = '''
async def f():
    """PR: does something.

    Steps of PR, for each page:
        1. The first.
        2. The second, which is
           longer than 3. a line.

    1. This is no step.
    """
'''
    assert spec_map.documented_steps([source]) == {"PR": (1, 2)}


def test_two_docstrings_for_one_section_are_one_too_many() -> None:
    source = 'def f():\n    """F.\n\n    Steps of PR:\n        1. A.\n    """\n'
    with pytest.raises(AssertionError, match="two docstrings write out the steps of PR"):
        spec_map.documented_steps([source, source])


def test_locks_are_known_by_the_names_that_the_code_gives_them() -> None:
    source = (
        'a = Mutex(self, "state_mutex")\n'
        'b = SpinLock(self, "lock", "zone.lock")\n'
        'c = SpinLock(self, f"ptl[{n}]", "pte_lock")\n'
        'd = BitLock(self, "page_lock", self.flags, PG_LOCKED)\n'
    )
    assert spec_map.lock_names([source]) == {"state_mutex", "zone.lock", "pte_lock", "page_lock"}


def test_a_label_that_only_an_unlock_names_is_no_point() -> None:
    source = """
F = Points(__name__, "f", "FA", "1 2 3 4 5")
async def f():
    await lock.lock(F["1"])
    lock.unlock(F["2"])
    await mutex.unlock(F["3"])
    raise KernelBug(F["4"], "BUG")
    for half, label in ((0, F["5"]),):
        await page.content[half].read(label)
"""
    assert spec_map.silent_labels([source]) == {"f.2", "f.4"}
    (problem,) = problems(attrs.evolve(SMALL, silent=frozenset({"fa.1", "helper.1"})))
    assert problem == "fa.1: no awaited operation announces it; only unlocks or exceptions name it"


def test_figures_add_up() -> None:
    counted = figures(REAL())
    assert counted["entries"] == counted["steps"] + counted["prose sections"]
    assert counted["points"] >= counted["steps covered"]


def test_figures_are_printed_by_one_command() -> None:
    command = [sys.executable, "-m", "tests.specification.spec_map"]
    done = subprocess.run(command, cwd=spec_map.ROOT, capture_output=True, text=True, check=True)
    expected = [f"{number:5} {name}" for name, number in figures(REAL()).items()]
    assert done.stdout.splitlines()[: len(expected)] == expected


def test_what_is_compared_is_what_the_command_line_lists() -> None:
    command = [sys.executable, "-m", "ksmtrio", "list", "points", "--json"]
    done = subprocess.run(command, cwd=spec_map.ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(REAL().rows)
