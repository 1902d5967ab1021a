# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmtrio.sched.program`: programs of tasks over cells and locks."""

from __future__ import annotations

import pytest

from ksmtrio.errors import BadInput
from ksmtrio.execution import run_subject
from ksmtrio.sched.footprint import Footprints
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.subject import load_subject

PROGRAMS = """
from ksmtrio.sched import Program, bind

def lost_update(p: Program, nr_tasks: int) -> None:
    word = p.cell("word", 0)

    async def body() -> None:
        await word.write("f.2", await word.read("f.1") + 1)

    for number in range(nr_tasks):
        p.task(f"t{number}", body, like="t")
    p.at_end(lambda: p.check(word.value == nr_tasks, "an update got lost"))

lost_update_2 = bind(lost_update, 2)

def counts_by(p: Program, *, step: int) -> None:
    word = p.cell("word", 0)

    async def body() -> None:
        await word.write("f.1", step)

    p.task("t", body)
    p.at_end(lambda: p.check(word.value == 1, f"it is {word.value}"))

counts_by_2 = bind(counts_by, step=2)

def locked(p: Program) -> None:
    word, lock = p.cell("word", 0), p.lock("lock")

    async def body() -> None:
        await lock.acquire("f.1")
        await word.write("f.3", await word.read("f.2") + 1)
        p.note("counted")
        await lock.release("f.4")

    for number in range(3):
        p.task(f"t{number}", body)
    p.at_end(lambda: p.check(word.value == 3, "an update got lost"))

def twice(p: Program) -> None:
    lock = p.lock("lock")

    async def body() -> None:
        await lock.acquire("f.1")
        await lock.acquire("f.2")

    p.task("t", body)

def foreign(p: Program) -> None:
    lock = p.lock("lock")

    async def body() -> None:
        await lock.release("f.1")

    p.task("t", body)

def raises(p: Program) -> None:
    word = p.cell("word", None)

    async def body() -> None:
        await word.read("f.1") + 1

    p.task("t", body)

def raises_at_end(p: Program) -> None:
    async def body() -> None: ...

    p.task("t", body)
    p.at_end(lambda: 1 / 0)

def indescribable(p: Program) -> None:
    p.cell("word", 1 / 0)

def abba(p: Program) -> None:
    locks = p.lock("one"), p.lock("two")

    def body(first, second):
        async def run() -> None:
            await first.acquire("f.1")
            await second.acquire("f.2")
            await second.release("f.3")
            await first.release("f.4")
        return run

    p.task("a", body(*locks))
    p.task("b", body(*reversed(locks)))
"""


@pytest.fixture
def programs(tmp_path):
    file = tmp_path / "programs.py"
    file.write_text(PROGRAMS, encoding="utf-8")
    return lambda name: load_subject(f"{file}:{name}")


def finals(subject, seeds: int) -> set[str | None]:
    specs = (StrategySpec("random", seed) for seed in range(seeds))
    return {run_subject(subject, spec, final=True).machine_digest for spec in specs}


def signatures(subject, seeds: int = 30) -> set[str]:
    found: set[str] = set()
    for seed in range(seeds):
        found.update(run_subject(subject, StrategySpec("random", seed)).signatures())
    return found


def test_failed_check_at_the_end_is_a_finding(programs) -> None:
    assert signatures(programs("lost_update_2")) == {"bugs:assertion@end"}


def test_instance_gets_arguments_by_name_too(programs) -> None:
    (found,) = run_subject(programs("counts_by_2"), StrategySpec("random", 0)).findings
    assert found.message == "it is 2"


def test_ideal_lock_excludes(programs) -> None:
    assert signatures(programs("locked")) == set()


def test_being_kept_out_by_an_ideal_lock_is_no_transition(programs) -> None:
    lengths = set()
    for seed in range(30):
        footprints = Footprints()
        run_subject(programs("locked"), StrategySpec("random", seed), recorder=footprints)
        lengths.add(len(footprints.steps))
    assert lengths == {3 * (1 + 4)}


def test_ideal_lock_taken_twice_is_a_deadlock(programs) -> None:
    (signature,) = signatures(programs("twice"), seeds=1)
    assert signature.startswith(("progress:hung-task@f.2", "locks:deadlock@f.2"))


def test_release_of_a_free_lock_is_noticed(programs) -> None:
    assert signatures(programs("foreign"), seeds=1) == {"locks:unlock-of-unlocked@f.1"}


def test_two_locks_in_two_orders_deadlock(programs) -> None:
    (signature,) = signatures(programs("abba"))
    assert signature.startswith("locks:deadlock@f.2")


def test_final_state_tells_outcomes_apart_but_not_schedules(programs) -> None:
    assert len(finals(programs("lost_update_2"), seeds=30)) == 2


def test_log_is_part_of_the_final_state(programs) -> None:
    assert len(finals(programs("locked"), seeds=60)) == 6  # orders of three


def test_notes_are_accesses_to_the_log(programs) -> None:
    footprints = Footprints()
    run_subject(programs("locked"), StrategySpec("random", 0), recorder=footprints)
    assert sum("log" in step.accesses for step in footprints.steps) == 3


def test_interchangeable_tasks_reach_one_final_state(programs, tmp_path) -> None:
    text = PROGRAMS.replace('p.task(f"t{number}", body)', 'p.task(f"t{number}", body, like="t")')
    file = tmp_path / "alike.py"
    file.write_text(text, encoding="utf-8")
    subject = load_subject(f"{file}:locked")
    assert len(finals(subject, seeds=60)) == 1


def test_exception_of_a_task_is_a_finding_where_it_was_raised(programs) -> None:
    assert signatures(programs("raises"), seeds=1) == {"bugs:exception@f.1"}
    assert signatures(programs("raises_at_end"), seeds=1) == {"bugs:exception@end"}


def test_program_that_cannot_be_described_is_bad_input(programs) -> None:
    with pytest.raises(BadInput, match=r"ZeroDivisionError: .*, while it was described"):
        signatures(programs("indescribable"), seeds=1)
