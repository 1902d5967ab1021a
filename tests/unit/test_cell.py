# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells: each operation is one point, one check, one event and one call of each watcher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.cell import Cell, Counter, Flags, ReadWatched, SharedObject
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import Runtime
from tests.harness import Box, Tape, Turns, World, every_schedule, run_actors

LOCKED, DIRTY = 1, 2
NAMES = {LOCKED: "locked", DIRTY: "dirty"}

CellOp = Callable[[Any], Awaitable[Any]]


def alone(op: Callable[[World], Awaitable[Any]], **options: Any) -> tuple[Any, World]:
    """Run one coroutine as the only actor and return its result and the world."""
    results: list[Any] = []

    def build(world: World) -> None:
        async def body() -> None:
            results.append(await op(world))

        world.actor("a", body)

    world = run_actors(build, **options)
    return results[0], world


def on(kind: str, value: int, op: CellOp) -> tuple[Any, int, World, Tape]:
    """Run one operation on a fresh cell; return result, value afterwards, world and tape."""
    tape = Tape()
    cells: list[Any] = []

    async def body(world: World) -> Any:
        cell: Any
        if kind == "flags":
            cell = Flags(world.box, "flags", value, NAMES)
        elif kind == "counter":
            cell = Counter(world.box, "_count", value)
        else:
            cell = Cell(world.box, "mapping", value)
        cells.append(cell)
        return await op(cell)

    result, world = alone(body, recorder=tape)
    return result, cells[0].value, world, tape


# kind, value before, operation, result, value after, event, value in the event
OPERATIONS: list[tuple[str, int, CellOp, Any, int, str, Any]] = [
    ("cell", 5, lambda c: c.read("f.1"), 5, 5, "read", 5),
    ("cell", 5, lambda c: c.write("f.1", 6), None, 6, "write", 6),
    ("cell", 5, lambda c: c.cmpxchg("f.1", 5, 7), True, 7, "cmpxchg", True),
    ("cell", 5, lambda c: c.cmpxchg("f.1", 4, 7), False, 5, "cmpxchg", False),
    ("counter", 3, lambda c: c.add("f.1", -2), 1, 1, "add", 1),
    ("counter", 3, lambda c: c.inc("f.1"), 4, 4, "add", 4),
    ("counter", 3, lambda c: c.dec("f.1"), 2, 2, "add", 2),
    ("counter", 2, lambda c: c.dec_and_test("f.1"), False, 1, "add", 1),
    ("counter", 1, lambda c: c.dec_and_test("f.1"), True, 0, "add", 0),
    ("counter", 0, lambda c: c.dec_and_test("f.1"), False, -1, "add", -1),
    ("counter", 1, lambda c: c.inc_not_zero("f.1"), True, 2, "inc_not_zero", True),
    ("counter", 0, lambda c: c.inc_not_zero("f.1"), False, 0, "inc_not_zero", False),
    ("counter", 2, lambda c: c.add_unless("f.1", -1, 1), True, 1, "add_unless", True),
    ("counter", 1, lambda c: c.add_unless("f.1", -1, 1), False, 1, "add_unless", False),
    ("counter", 2, lambda c: c.cmpxchg("f.1", 2, 0), True, 0, "cmpxchg", True),
    ("counter", 3, lambda c: c.cmpxchg("f.1", 2, 0), False, 3, "cmpxchg", False),
    ("counter", 0, lambda c: c.write("f.1", 2), None, 2, "write", 2),
    ("counter", 4, lambda c: c.read("f.1"), 4, 4, "read", 4),
    ("flags", DIRTY, lambda c: c.test("f.1", DIRTY), True, DIRTY, "test_bit dirty", True),
    ("flags", DIRTY, lambda c: c.test("f.1", LOCKED), False, DIRTY, "test_bit locked", False),
    ("flags", DIRTY, lambda c: c.set("f.1", LOCKED), None, 3, "set_bit locked", False),
    ("flags", 3, lambda c: c.set("f.1", LOCKED), None, 3, "set_bit locked", True),
    ("flags", 3, lambda c: c.clear("f.1", DIRTY), None, LOCKED, "clear_bit dirty", True),
    ("flags", LOCKED, lambda c: c.clear("f.1", DIRTY), None, 1, "clear_bit dirty", False),
    ("flags", 0, lambda c: c.test_and_set("f.1", DIRTY), False, 2, "test_and_set_bit dirty", False),
    ("flags", 2, lambda c: c.test_and_set("f.1", DIRTY), True, 2, "test_and_set_bit dirty", True),
    ("flags", 3, lambda c: c.test_and_clear("f.1", 2), True, 1, "test_and_clear_bit dirty", True),
    ("flags", 1, lambda c: c.test_and_clear("f.1", 2), False, 1, "test_and_clear_bit dirty", False),
]


@pytest.mark.parametrize(("kind", "before", "op", "result", "after", "event", "told"), OPERATIONS)
def test_operation_is_one_point_with_its_result_and_one_event(
    kind: str, before: int, op: CellOp, result: Any, after: int, event: str, told: Any
) -> None:
    got, value, world, tape = on(kind, before, op)
    assert got == result
    assert value == after
    assert world.rt.points == 1
    assert world.splats == []
    field = {"cell": "mapping", "counter": "_count", "flags": "flags"}[kind]
    assert tape.operations == [("f.1", event, f"box.{field}", told)]


def test_operations_in_step_pass_no_schedule_point_but_leave_events() -> None:
    async def op(cell: Any) -> int:
        cell.write_in_step("f.1", 8)
        value: int = cell.read_in_step("f.1")
        return value

    got, value, world, tape = on("cell", 5, op)
    assert (got, value, world.rt.points) == (8, 8, 0)
    assert tape.operations == [
        ("f.1", "write", "box.mapping", 8),
        ("f.1", "read", "box.mapping", 8),
    ]


def test_change_in_step_sets_and_clears_bits_at_once() -> None:
    async def op(flags: Any) -> None:
        flags.change_in_step("f.1", set_=LOCKED, clear=DIRTY)

    _, value, world, tape = on("flags", DIRTY, op)
    assert (value, world.rt.points) == (LOCKED, 0)
    assert tape.operations == [("f.1", "write", "box.flags", LOCKED)]


def test_has_looks_without_an_operation() -> None:
    async def op(flags: Any) -> tuple[bool, bool]:
        return flags.has(DIRTY), flags.has(LOCKED)

    got, _, world, tape = on("flags", DIRTY, op)
    assert got == (True, False)
    assert (world.rt.points, tape.operations) == (0, [])


def test_watchers_hear_old_and_new_value_once_a_write() -> None:
    heard: list[tuple[str, Any, Any, str]] = []

    async def body(world: World) -> None:
        def watch(cell: Cell[Any], old: Any, new: Any, at: str) -> None:
            heard.append((cell.name, old, new, at))

        cell = Counter(world.box, "_count", 1, (watch, watch))
        await cell.read("f.1")
        await cell.inc("f.2")
        await cell.cmpxchg("f.3", 9, 0)
        cell.write_in_step("f.4", 7)

    alone(body)
    assert heard == [("box._count", 1, 2, "f.2")] * 2 + [("box._count", 2, 7, "f.4")] * 2


def test_setting_a_set_bit_is_no_write() -> None:
    heard: list[str] = []

    async def body(world: World) -> None:
        flags = Flags(world.box, "flags", LOCKED, NAMES, (lambda *what: heard.append(what[3]),))
        await flags.set("f.1", LOCKED)
        await flags.clear("f.2", LOCKED)

    alone(body)
    assert heard == ["f.2"]


def test_cell_remembers_who_last_wrote_it_and_where() -> None:
    async def body(world: World) -> Cell[int]:
        cell = Cell(world.box, "kpfn", 1)
        assert cell.writer is None
        assert cell.written_at == ""
        await cell.write("f.1", 2)
        await cell.read("f.2")
        await cell.cmpxchg("f.3", 9, 9)
        return cell

    cell, world = alone(body)
    assert cell.writer is world.rt.actors[0]
    assert cell.written_at == "f.1"


def test_cmpxchg_compares_structures_by_identity() -> None:
    async def body(world: World) -> tuple[bool, bool]:
        one, twin = Box(world.rt, "x"), Box(world.rt, "x")
        cell: Cell[Box | None] = Cell(world.box, "mapping", one)
        return await cell.cmpxchg("f.1", twin, None), await cell.cmpxchg("f.2", one, None)

    assert alone(body)[0] == (False, True)


def test_operation_sees_what_the_word_holds_when_the_actor_runs_on() -> None:
    def build(world: World) -> None:
        cell = Cell(world.box, "kpfn", 1)

        async def reader() -> None:
            world.note(str(await cell.read("r.1")))

        async def writer() -> None:
            await cell.write("w.1", 2)

        world.actor("r", reader)
        world.actor("w", writer)

    assert run_actors(build, "r@r.1", "w", "r").log == ["r 2"]
    assert run_actors(build, "r", "w").log == ["r 1"]


def test_atomic_increments_are_never_lost_and_plain_ones_may_be() -> None:
    def build(world: World, *, atomic: bool) -> None:
        count = Counter(world.box, "_count", 0)
        world.log.append(count)

        async def body() -> None:
            if atomic:
                await count.inc("f.1")
            else:
                await count.write("f.2", await count.read("f.1") + 1)

        world.actor("a", body)
        world.actor("b", body)

    results = {
        atomic: {w.log[0].value for w in every_schedule(lambda w: build(w, atomic=atomic))}  # noqa: B023
        for atomic in (True, False)
    }
    assert results == {True: {2}, False: {1, 2}}


def test_name_is_owner_and_field() -> None:
    rt = Runtime(Turns(), TrioHost())
    cell = Cell(Box(rt, "page(pfn=3)"), "mapping", None)
    assert cell.name == "page(pfn=3).mapping"
    assert str(cell.owner) == "page(pfn=3)"
    assert repr(cell.owner) == "<page(pfn=3)>"


def test_shared_object_must_be_named() -> None:
    with pytest.raises(NotImplementedError):
        repr(SharedObject(Runtime(Turns(), TrioHost())))


@pytest.mark.parametrize(
    ("how", "kind"), [("freed", "use-after-free"), ("removed", "use-after-offline")]
)
@pytest.mark.parametrize(
    "op",
    [
        lambda c: c.read("f.2"),
        lambda c: c.write("f.2", 1),
        lambda c: c.cmpxchg("f.2", 0, 1),
        lambda c: c.inc("f.2"),
        lambda c: c.inc_not_zero("f.2"),
        lambda c: c.add_unless("f.2", 1, 0),
    ],
)
def test_operation_on_a_dead_object_is_noticed_once_and_goes_through(
    how: str, kind: str, op: CellOp
) -> None:
    async def body(world: World) -> None:
        cell = Counter(world.box, "_count", 1)
        world.box.die(how, "f.1")
        await op(cell)

    _, world = alone(body)
    (splat,) = world.splats
    assert (splat.kind, splat.target, splat.at) == (kind, world.box, "f.2")
    assert splat.message == "a touches box._count"
    assert splat.other is world.box.dead
    assert world.rt.stop_reason == "done"


@pytest.mark.parametrize(
    "op",
    [
        lambda c: c.read_in_step("f.2"),
        lambda c: c.write_in_step("f.2", 1),
        lambda c: c.change_in_step("f.2", set_=DIRTY),
    ],
)
def test_operation_in_step_on_a_dead_object_is_noticed(op: Callable[[Flags], Any]) -> None:
    async def body(world: World) -> None:
        flags = Flags(world.box, "flags", 0, NAMES)
        world.box.die("freed", "f.1")
        op(flags)

    assert alone(body)[1].kinds == ["use-after-free"]


def test_object_that_dies_between_announcement_and_operation_is_noticed() -> None:
    def build(world: World) -> None:
        cell = Cell(world.box, "kpfn", 1)

        async def reader() -> None:
            await cell.read("r.1")

        async def freer() -> None:
            await world.rt.cond_resched("w.1")
            world.box.die("freed", "w.1")

        world.actor("r", reader)
        world.actor("w", freer)

    world = run_actors(build, "r@r.1", "w", "r")
    (splat,) = world.splats
    assert splat.other is not None
    assert splat.other.actor is world.rt.actors[1]
    assert splat.other.at == "w.1"


def test_double_free_is_noticed_and_the_first_death_stands() -> None:
    async def body(world: World) -> None:
        world.box.die("freed", "f.1")
        world.box.die("freed", "f.2")

    _, world = alone(body)
    (splat,) = world.splats
    assert (splat.kind, splat.at, splat.message) == ("double-free", "f.2", "double free of box")
    assert world.box.dead is splat.other
    assert splat.other is not None
    assert splat.other.at == "f.1"


def test_operation_outside_an_execution_is_a_fault_of_ours() -> None:
    rt = Runtime(Turns(), TrioHost())
    operation = Cell(Box(rt), "kpfn", 1).read("f.1")
    with pytest.raises(EmulatorError, match=r"operation at f\.1 outside the execution"):
        operation.send(None)


# -- words whose loads are watched ---------------------------------------------------------------


def test_loads_of_a_read_watched_word_are_told_and_change_nothing() -> None:
    told: list[tuple[str, int, int, str]] = []
    wrote: list[int] = []

    async def op(world: World) -> Any:
        cell = ReadWatched(
            world.box,
            "content",
            5,
            (lambda _cell, _old, new, _at: wrote.append(new),),
            (lambda cell, old, new, at: told.append((cell.field, old, new, at)),),
        )
        first = await cell.read("f.1")
        await cell.write("f.2", 6)
        return first, cell.read_in_step("f.2"), cell.value

    result, _ = alone(op)
    assert result == (5, 6, 6)
    assert told == [("content", 5, 5, "f.1"), ("content", 6, 6, "f.2")]
    assert wrote == [6]
