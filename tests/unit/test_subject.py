# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.subject`: finding a program in a file of the user's."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from ksmtrio.errors import BadInput
from ksmtrio.subject import is_program, load_subject, recorded_subject

GOOD = """
from ksmtrio.sched import Program, bind

LIMIT = 3

def one(p: Program) -> None:
    p.task("t", body)

def family(p: Program, n: int) -> None:
    one(p)

def by_name(p: Program, *, n: int) -> None:
    one(p)

async def waits(p: Program) -> None:
    one(p)

async def body() -> None: ...

two = bind(family, 2)
"""


def written(tmp_path, text: str) -> str:
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_functions_of_one_argument_and_bound_ones_are_programs(tmp_path) -> None:
    file = written(tmp_path, GOOD)
    for name in ("one", "two"):
        assert load_subject(f"{file}:{name}").name == f"{file}:{name}"


@pytest.mark.parametrize(
    "name", ["LIMIT", "family", "by_name", "waits", "body", "bind", "three", ""]
)
def test_anything_else_is_refused_with_what_there_is(tmp_path, name: str) -> None:
    file = written(tmp_path, GOOD)
    with pytest.raises(BadInput, match="there are: one, two"):
        load_subject(f"{file}:{name}")


def test_missing_file_and_file_that_raises_are_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_subject(f"{tmp_path}/none.py:x")
    with pytest.raises(BadInput, match="raises ZeroDivisionError"):
        load_subject(f"{written(tmp_path, '1 / 0')}:x")


def test_arguments_that_the_function_does_not_take_are_refused(tmp_path) -> None:
    for arguments in ("family", "family, 1, 2", "family, m=1", "by_name, 1"):
        file = written(tmp_path, GOOD + f"wrong = bind({arguments})\n")
        with pytest.raises(BadInput, match="raises TypeError"):
            load_subject(f"{file}:wrong")


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "def broken(:", "import no_such_module"])
def test_whatever_the_file_raises_is_one_line_of_bad_input(tmp_path, text: str) -> None:
    with pytest.raises(BadInput, match=r"mine\.py: raises \w+: [^\n]*$"):
        load_subject(f"{written(tmp_path, text)}:x")


def test_recorded_program_is_run_only_if_its_file_is_the_same(tmp_path) -> None:
    file = written(tmp_path, GOOD)
    subject = load_subject(f"{file}:one")
    assert recorded_subject(file, "one", subject.digest) == subject
    written(tmp_path, "raise SystemExit(3)")
    with pytest.raises(BadInput, match="is not the file that was recorded"):
        recorded_subject(file, "one", subject.digest)
    with pytest.raises(BadInput, match="to replay a trace of a program takes its file"):
        recorded_subject(f"{tmp_path}/gone.py", "one", subject.digest)


def test_file_that_changes_during_a_campaign_is_refused(tmp_path) -> None:
    subject = attrs.evolve(load_subject(f"{written(tmp_path, GOOD)}:one"), digest="0" * 64)
    with pytest.raises(BadInput, match="has changed meanwhile"):
        subject.build()


def test_subject_travels_as_data(tmp_path) -> None:
    subject = load_subject(f"{written(tmp_path, GOOD)}:one")
    assert pickle.loads(pickle.dumps(subject)) == subject  # noqa: S301 - our own
    assert copy.copy(subject).build() is subject.build()


def test_names_of_programs_are_told_from_scenarios() -> None:
    assert is_program("a/b.py:c")
    assert not is_program("offline_vs_ksmd")
    assert not is_program("a/b.toml")
