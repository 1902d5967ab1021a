# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: what a good file gives, and the one line that each bad one gets."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from ksmtrio.errors import ScenarioError
from ksmtrio.scenario import OPS, PageRef, Scenario, builtin_names, load_scenario, parse_scenario

KINDS = ("hotplug_driver", "ksmd", "user_task")

GOOD = """\
format = 1
name = "demo"
description = "two pages and three actors"
faults = ["enomem"]

[machine]
nodes = 2
blocks_per_node = 2
pages_per_block = 4
movable_blocks = [1, 3]
mixed_zone_blocks = [0]

[ksm]
cursor = "A:1"
[[ksm.merged]]
pages = ["A:0", "B:0"]

[[process]]
name = "A"
[[process.vma]]
pages = 2
contents = [7, 8]
mergeable = true
block = 1
checksum = true
[[process.vma]]
pages = 1

[[process]]
name = "B"
[[process.vma]]
pages = 2
contents = 7
mergeable = true
node = 1

[[notifier]]
name = "other"
priority = 5
veto = true
errno = "-EBUSY"

[[actor]]
name = "ksmd"
kind = "ksmd"
cpu = 0

[[actor]]
name = "task"
kind = "user_task"
process = "A"
program = [
  { op = "store", page = 0, value = 9 },
  { op = "move_pages", pages = [0, 1], node = 1, expect = [1, "-EBUSY"] },
]

[[actor]]
name = "offliner"
kind = "hotplug_driver"
[[actor.program]]
op = "offline"
block = 3
expect = "EBUSY"

[end]
counters = { pages_shared = 1 }
[end.contents]
"A:0" = 9
"""


def parse(text: str) -> Scenario:
    return parse_scenario(text, "demo.toml", KINDS)


def complaint(text: str) -> str:
    """Return the error that `text` gets; it has to be one line."""
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("demo.toml")
    assert "; " in message
    return message


def edited(old: str, new: str) -> tuple[str, int]:
    """Return GOOD with one edit, and the line of the edit."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new), GOOD[: GOOD.index(old)].count("\n") + 1


def test_a_good_file_gives_the_records() -> None:
    scenario = parse(GOOD)
    assert scenario.name == "demo"
    assert scenario.faults == ("enomem",)
    assert scenario.machine.movable_blocks == (1, 3)
    assert scenario.machine.mixed_zone_blocks == (0,)
    assert scenario.machine.points_max == 20_000
    assert scenario.ksm.cursor == PageRef("A", 1)
    assert scenario.ksm.merged[0].pages == (PageRef("A", 0), PageRef("B", 0))
    assert [p.nr_pages for p in scenario.processes] == [3, 2]
    assert scenario.processes[0].vmas[0].contents == (7, 8)
    assert scenario.processes[0].vmas[1].contents == (None,)
    assert scenario.processes[1].vmas[0].contents == (7, 7)
    assert scenario.notifiers[0].errno == "EBUSY"
    assert dict(scenario.end.counters) == {"pages_shared": 1}
    assert dict(scenario.end.contents) == {"A:0": 9}
    assert scenario.text == GOOD
    assert scenario.source == "demo.toml"


def test_operations_have_their_defaults_and_lines() -> None:
    _, task, offliner = parse(GOOD).actors
    store, move = task.program
    assert dict(store.args) == {"page": 0, "value": 9, "half": None}
    assert dict(move.args) == {"pages": (0, 1), "node": 1, "flags": ("MOVE",), "target": None}
    assert move.expect == (1, "-EBUSY")
    assert offliner.program[0].expect == "-EBUSY"
    lines = GOOD.split("\n")
    assert '"store"' in lines[store.line - 1]
    assert "[[actor.program]]" in lines[offliner.program[0].line - 1]


def test_defaults_of_a_small_file() -> None:
    scenario = parse('format = 1\nname = "s"\n[[actor]]\nname = "k"\nkind = "ksmd"\n')
    assert scenario.machine.nr_blocks == 2
    assert scenario.machine.movable_blocks is None
    assert scenario.machine.pagevecs
    assert scenario.ksm.batches == 1
    assert scenario.end.counters == {}


def test_a_scenario_is_a_value() -> None:
    scenario = parse(GOOD)
    assert pickle.loads(pickle.dumps(scenario)) == scenario  # noqa: S301 - our own bytes
    assert hash(scenario) == hash(parse(GOOD))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("format = 1", "format = 2", "format is 2; this version reads format 1"),
        ("format = 1", "format = true", "format is true"),
        ('name = "demo"', "name = 5", "name is 5; expected a string"),
        ('name = "demo"', 'name = "a b"', "is not a name"),
        ('["enomem"]', '["oom"]', "expected one of: early-expiry, enomem, signal"),
        ('["enomem"]', '["enomem", "enomem"]', "twice"),
        ("nodes = 2", "nodes = 0", "nodes is 0; expected an integer from 1 to 64"),
        ("nodes = 2", "nodes = -2", "nodes is -2"),
        ("nodes = 2", "nodes = 2.0", "nodes is 2.0"),
        ("nodes = 2", "nodes = true", "nodes is true"),
        ("nodes = 2", "node = 2", "unknown key 'node'; allowed here: cpus, nodes"),
        ("pages_per_block = 4", "pages_per_block = 4\npages_per_pageblock = 3", "divide"),
        ("[1, 3]", "[1, 4]", "block 4 is out of range; the machine has blocks 0 to 3"),
        ("[1, 3]", "[1, 1]", "listed twice"),
        ('cursor = "A:1"', 'cursor = "A:3"', "page A:3 is out of range; process A has 3 pages"),
        ('cursor = "A:1"', 'cursor = "A"', "expected a page as"),
        ('cursor = "A:1"', 'cursor = "C:0"', "there is no process 'C'; processes: A, B"),
        ('["A:0", "B:0"]', '["A:1", "B:0"]', "B:0 holds 7, but A:1 holds 8"),
        ('["A:0", "B:0"]', '["A:0", "A:0"]', "merged twice"),
        ('["A:0", "B:0"]', '["A:0", "A:2"]', "not mergeable"),
        ('["A:0", "B:0"]', "[]", "pages is empty"),
        ("contents = [7, 8]", "contents = [7]", "contents has 1 elements for 2 pages"),
        ("contents = [7, 8]", "contents = [7, -1]", "contents 2 is -1"),
        ("contents = [7, 8]", 'contents = [7, "x"]', "contents 2 is 'x'"),
        ("contents = 7", "contents = 2147483648", "expected an integer from 0 to 2147483647"),
        ("block = 1", "block = 4", "block 4 is out of range"),
        ("block = 1", 'block = 1\nlocked = true\nswap = "out"', "a locked area with swap = 'out'"),
        ("block = 1", "block = 1\nnode = 0", "both node and block"),
        ("node = 1\n\n", "node = 2\n\n", "node 2 is out of range"),
        ("checksum = true", "checksum = 1", "expected true or false"),
        ("checksum = true", 'pte = "rx"', "expected one of: rw, ro"),
        ('name = "B"', 'name = "A"', "two process entries"),
        ('errno = "-EBUSY"', 'errno = "EWRONG"', "expected the name of an errno"),
        ("veto = true", "veto = false", "errno is given without veto"),
        ('name = "task"', 'name = "ksmd"', "two actor entries with the name 'ksmd'"),
        ('kind = "user_task"', 'kind = "usertask"', "expected one of: hotplug_driver, ksmd"),
        ('process = "A"', 'process = "C"', "there is no process 'C'"),
        ("cpu = 0", "cpu = 3", "cpu 3 is out of range; the machine has cpus 0 to 2"),
        ("page = 0, value", "page = 3, value", "page 3 is out of range; the process has 3 pages"),
        ("value = 9 }", "value = -9 }", "value is -9"),
        ("value = 9 }", "value = 9, half = 2 }", "half is 2"),
        ("value = 9 }", "value = 9, expects = 0 }", "unknown key 'expects'"),
        (", value = 9 }", " }", "store has no 'value'; expected a content token"),
        ("[0, 1], node = 1", "[0, 1], node = 2", "node 2 is out of range"),
        ("[0, 1], node = 1", "[0, 5], node = 1", "page 5 is out of range"),
        ("[0, 1], node = 1", '[0, 1], node = 1, flags = ["STRICT"]', "expected one of: MOVE"),
        ('[1, "-EBUSY"]', "[1]", "expect has 1 statuses for 2 pages"),
        ('op = "offline"', 'op = "eject"', "expected one of: load, store"),
        ('op = "offline"', "kind = 1", "program 1 has no 'op'"),
        ("block = 3", "block = 9", "block 9 is out of range"),
        ('expect = "EBUSY"', "expect = [0]", "this operation answers a number or an errno"),
        ('"A:0" = 9', '"A:9" = 9', "page A:9 is out of range"),
        ('"A:0" = 9', '"A:0" = -9', "A:0 is -9"),
        ('"A:0" = 9', '"nowhere" = 9', "expected a page as"),
        ("pages_shared = 1", "pages_volatile = 1", "allowed here: pages_shared"),
        ("[end]\n", "[end]\nanything = 1\n", "unknown key 'anything'"),
        ("[ksm]\n", "[ksm]\n[ksm]\n", "not TOML"),
    ],
)
def test_a_bad_value_is_named_with_its_line(old: str, new: str, part: str) -> None:
    text, line = edited(old, new)
    message = complaint(text)
    assert part in message
    # Edits that add a line, or that complain about the whole entry, are off by a line or a few.
    assert abs(int(message.split(":")[1]) - line) <= 8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nodes = 2", "nodes = -2"),
        ("page = 0, value", "page = 3, value"),
        ('kind = "user_task"', 'kind = "usertask"'),
        ("block = 3", "block = 9"),
        ("contents = [7, 8]", "contents = [7, -1]"),
        ('"A:0" = 9', '"A:9" = 9'),
    ],
)
def test_the_line_is_exact(old: str, new: str) -> None:
    text, line = edited(old, new)
    assert complaint(text).startswith(f"demo.toml:{line}: ")


def test_touched_pages_have_to_fit() -> None:
    text, _ = edited("contents = 7", "contents = 7")
    assert parse(text)
    text, _ = edited("pages = 2\ncontents = 7", "pages = 10\ncontents = 7")
    assert "9 touched pages do not fit on node 1; it has 8 frames" in complaint(text)
    text, _ = edited("pages = 2\ncontents = [7, 8]", "pages = 5\ncontents = 7")
    assert "5 touched pages do not fit on block 1; it has 4 frames" in complaint(text)


def test_an_operation_on_pages_needs_a_process() -> None:
    text, _ = edited('process = "A"\n', "")
    assert "store needs an address space" in complaint(text)


def test_a_range_has_to_end_inside_the_process() -> None:
    text, _ = edited('op = "store", page = 0, value = 9', 'op = "munmap", page = 1, pages = 3')
    assert "page 3 is out of range" in complaint(text)


def test_a_scenario_needs_an_actor_and_a_format() -> None:
    assert "no [[actor]]" in complaint('format = 1\nname = "x"\n')
    assert "has no 'format'" in complaint('name = "x"\n')
    assert "single table" in complaint('format = 1\nname = "x"\n[actor]\nname = "a"\n')


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("format = ", "demo.toml:1: not TOML"),
        ("format = 1\n[machine\n", "demo.toml:2: not TOML"),
        ("format = 1\nname = 'a\0b'\n", "demo.toml:2: there is a NUL byte"),
        ("x = " + "[" * 3000, "nested too deeply"),
        ("x = " + ".".join("a" * 60), "not TOML"),
        (".".join("a" * 60) + " = 1", "demo.toml:1: nested too deeply"),
        ("x = " + "1" * 5000, "demo.toml:1: the line has 5004 characters"),
        ("#\n" * 600_000, "too large"),
        ('{"a": 1}', "demo.toml:1: not TOML"),
    ],
)
def test_what_is_no_toml_is_said_in_one_line(text: str, part: str) -> None:
    assert part in complaint(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    cases = {
        "absent.toml": None,
        "binary.toml": b"format = 1\n\xff\xfe",
        "large.toml": b"#" * (1 << 20) + b"\n",
    }
    for name, data in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ScenarioError) as caught:
            load_scenario(str(tmp_path / name), KINDS)
        assert "\n" not in str(caught.value)
    with pytest.raises(ScenarioError, match=r"binary.toml:2: byte 0xff is not valid UTF-8"):
        load_scenario(str(tmp_path / "binary.toml"), KINDS)
    for path in (str(tmp_path), "a\0b", "no_such_scenario", ""):
        with pytest.raises(ScenarioError) as caught:
            load_scenario(path, KINDS)
        assert "\n" not in str(caught.value)


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    scenario = load_scenario(str(path), KINDS)
    assert scenario.source == str(path)
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load_scenario(str(path), KINDS).actors == scenario.actors


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_scenario_loads(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description


def test_every_operation_says_what_it_does() -> None:
    for spec in OPS.values():
        assert spec.description
        for argument in spec.arguments.values():
            assert argument.type.value


FORKS = """
format = 1
name = "forks"
[[process]]
name = "A"
[[process.vma]]
pages = 1
contents = 1
[[process]]
name = "B"
forked_from = "A"
at = "fork"
[[actor]]
name = "forker"
kind = "user_task"
process = "A"
program = [{ op = "fork", child = "B" }]
"""


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('at = "fork"', 'at = "exec"', "expected one of: start, fork"),
        ('forked_from = "A"\nat', "at", "add forked_from"),
        (', child = "B"', "", "nobody forks B"),
        ('child = "B"', 'child = "A"', "unborn processes: B"),
        ('child = "B" }', 'child = "B", repeat = 2 }', "B is born twice"),
        ('process = "A"', 'process = "B"', "B is forked from A, not B"),
        ("[[process]]", '[ksm]\ncursor = "B:0"\n[[process]]', "does not exist at the start"),
    ],
)
def test_a_process_that_is_born_by_fork_is_born_once(old: str, new: str, part: str) -> None:
    parse_scenario(FORKS, "forks", KINDS)
    with pytest.raises(ScenarioError, match=re.escape(part)):
        parse_scenario(FORKS.replace(old, new, 1), "forks", KINDS)
