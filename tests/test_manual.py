# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual names what there is: every page, every key and operation of a scenario."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

import ksmtrio
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import builtin_names, schema
from ksmtrio.scenario.operations import ADVICES, OPS
from ksmtrio.sched.exploration.base import Settings
from ksmtrio.sched.exploration.dpor import Dpor
from ksmtrio.subject import is_program, load_subject
from tests.exploring_classes import explore

MANUAL = Path(ksmtrio.__file__).parent / "manual"
ROOT = MANUAL.parents[1]
PROGRAMS = ROOT / "tests" / "quality" / "programs"
SCENARIOS = (MANUAL / "scenarios.md").read_text(encoding="utf-8")
HEADINGS = {
    "": schema.Scenario,
    "[machine]": schema.MachineSpec,
    "[ksm]": schema.KsmSpec,
    "[[ksm.merged]]": schema.MergedSpec,
    "[[process]]": schema.ProcessSpec,
    "[[process.vma]]": schema.VmaSpec,
    "[[notifier]]": schema.NotifierSpec,
    "[[actor]]": schema.ActorSpec,
    "[end]": schema.EndSpec,
}
"""Table of a scenario -> the record that holds it."""

KEYS = {"vmas": "vma"}
"""Fields that are called otherwise in a file."""

NO_KEYS = {"Scenario": {"machine", "ksm", "processes", "notifiers", "actors", "end"}}
FROM_THE_FILE = {"text", "source"}
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|(.*)\|$", re.MULTILINE)


def part(heading: str) -> str:
    """Return what scenarios.md says below a heading, up to the next one."""
    begins = {name: SCENARIOS.index(f"\n`{name}`") if name else 0 for name in HEADINGS}
    ends = dict(pairwise([*begins.values(), len(SCENARIOS)]))
    return SCENARIOS[begins[heading] : ends[begins[heading]]]


def operations() -> dict[str, str]:
    """Return operation -> the cell with its arguments."""
    table = SCENARIOS.partition("\n| op |")[2]
    return {name: cell for names, cell in ROW.findall(table) for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_key_of_a_scenario_is_described(heading: str) -> None:
    record = HEADINGS[heading]
    fields = {KEYS.get(field.name, field.name) for field in attrs.fields(record)}
    fields -= NO_KEYS.get(record.__name__, set()) | (FROM_THE_FILE if not heading else set())
    missing = sorted(key for key in fields if f"`{key}`" not in part(heading))
    assert not missing, f"scenarios.md, {heading or 'top'}: describe {missing}"


def test_operations_are_those_that_there_are() -> None:
    assert set(operations()) == set(OPS)
    for field in ("op", "repeat", "expect"):
        assert f"`{field}`" in part("[[actor]]")


@pytest.mark.parametrize("name", OPS)
def test_every_argument_of_an_operation_is_described(name: str) -> None:
    cell = operations()[name]
    missing = sorted(key for key in OPS[name].arguments if f"`{key}`" not in cell)
    assert not missing, f"scenarios.md: {name} also takes {missing}"


def test_words_that_keys_may_hold_are_named() -> None:
    quoted = [f'"{state}"' for state in schema.SWAP_STATES]
    for word in [*schema.FAULTS, *schema.COUNTERS, *ADVICES, *quoted]:
        assert word in SCENARIOS, f"scenarios.md: say what {word} means"


def test_every_page_and_decision_is_in_its_place() -> None:
    contents = (MANUAL / "README.md").read_text(encoding="utf-8")
    for page in MANUAL.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in contents, page.name
    decisions = sorted(path.name for path in (MANUAL / "decisions").iterdir())
    for number, name in enumerate(decisions, start=1):
        assert name.startswith(f"{number:04}-"), name
        text = (MANUAL / "decisions" / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. "), name
        for heading in ("Context", "Decision", "Consequences"):
            assert f"**{heading}.**" in text, f"{name}: {heading}"


COMMAND = re.compile(r"\bksmtrio (?:run|stress|explore) ([a-z][^`\n]*)")
PAGES = [ROOT / "README.md", *sorted(MANUAL.glob("*.md"))]


def test_commands_name_what_there_is() -> None:
    commands = [command for page in PAGES for command in COMMAND.findall(page.read_text("utf-8"))]
    assert len(commands) > 12
    for command in commands:
        words = shlex.split(command, comments=True)
        with_ = [after for word, after in pairwise(words) if word.endswith("--with")]
        without = [after for word, after in pairwise(words) if word.endswith("-without")]
        build_kernel(with_=with_, without=without)
        names = [words[0], *(words[1:2] if not words[1].startswith("-") else [])]
        programs = {name for name in names if is_program(name)}
        assert set(names) - programs <= set(builtin_names()), command
        for program in programs:
            load_subject(f"{PROGRAMS}/{Path(program).name}")


def test_example_of_a_program_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"```python\n(.*?)```", (MANUAL / "programs.md").read_text("utf-8"), re.DOTALL
    )
    file = tmp_path / "lost_update.py"
    file.write_text(text, encoding="utf-8")
    search = Dpor(Settings())
    explore(load_subject(f"{file}:lost_update_3").build(), search)
    assert search.complete
    assert search.counts.executions == 36
