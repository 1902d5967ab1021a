# SPDX-License-Identifier: GPL-2.0-or-later
"""House rules about who may know and use what, read off the syntax trees of all modules.

The import contracts in `pyproject.toml` hold the layers; these rules also see attributes, calls and
loops. Each message says what to do instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
HEADER: Final = "# SPDX-License-Identifier: GPL-2.0-or-later\n"

WORLD: Final = (
    "actors/",
    "ksmtrio/base/",
    "ksmtrio/locking/",
    "ksmtrio/mm/",
    "ksmtrio/notifier.py",
    "ksmtrio/oracles/",
    "ksmtrio/uapi/",
)
"""The emulated world and its judges: no event loop, clock, chance or logging of their own."""

BLIND: Final = ("actors/", "ksmtrio/oracles/")
"""What drives or judges: must not know which switches are on."""

TRIO_DOORS: Final = (
    "ksmtrio/campaign/",
    "ksmtrio/cli/",
    "ksmtrio/execution.py",
    "ksmtrio/sched/",
)
"""Who may import trio: the scheduler's host, and who starts an event loop around it."""

CLOCKS: Final = frozenset({"time", "datetime"})
CHANCE: Final = frozenset({"random", "secrets", "uuid"})


def names_of(*tops: str) -> list[str]:
    """Return all Python files under the given folders or with the given names, sorted."""
    found = []
    for top in tops:
        path = ROOT / top
        files = path.rglob("*.py") if path.is_dir() else [path] if path.exists() else []
        found += [file.relative_to(ROOT).as_posix() for file in files]
    return sorted(found)


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def imports(name: str) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything that a module imports, members included."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write absolute imports"
            assert node.module is not None
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def imported_tops(name: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of everything that a module imports."""
    for line, dotted in imports(name):
        yield line, dotted.split(".", maxsplit=1)[0]


ALL = names_of("ksmtrio", "actors")
BELOW_CLI = [name for name in ALL if not name.startswith("ksmtrio/cli/")]


def test_there_is_something_to_look_at():
    assert "ksmtrio/oracles/frames.py" in ALL
    assert "ksmtrio/sched/runtime.py" in BELOW_CLI


@pytest.mark.parametrize("name", names_of(*BLIND))
def test_what_drives_or_judges_does_not_know_the_switches(name: str):
    wrong = [
        f"{name}:{line}: imports {dotted}; look at the machine's state instead"
        for line, dotted in imports(name)
        if dotted.startswith("ksmtrio.kconfig")
    ]
    wrong += [
        f"{name}:{node.lineno}: touches .kernel; look at the machine's state instead"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Attribute) and node.attr == "kernel"
    ]
    wrong += [
        f"{name}:{node.lineno}: names {node.value!r}; attributes are written out, not looked up"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Constant) and node.value in ("kernel", "kconfig")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of("ksmtrio/oracles"))
def test_oracles_are_not_async(name: str):
    """Every operation on a cell is awaited, so that what cannot await cannot perform one."""
    wrong = [
        f"{name}:{node.lineno}: an oracle must not await; read `.value`"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of("ksmtrio/oracles"))
def test_oracles_assign_to_their_own_attributes_only(name: str):
    allowed = ("self", "finding")
    wrong = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            place = target
            while isinstance(place, ast.Subscript):
                place = place.value
            if not isinstance(place, ast.Attribute):
                continue
            base: ast.expr = place.value
            while isinstance(base, ast.Attribute | ast.Subscript):
                base = base.value
            deep = isinstance(place.value, ast.Attribute) and ast.unparse(place) not in (
                "self.ptes",
                "self.lru",
                "self.free",
                "self.pagevecs",
            )
            if not isinstance(base, ast.Name) or base.id not in allowed or deep:
                wrong.append(
                    f"{name}:{node.lineno}: assigns to {ast.unparse(target)}; oracles are read-only"
                )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of("ksmtrio/oracles"))
def test_oracles_call_no_operation_that_changes_the_machine(name: str):
    changing = {
        "change_in_step",
        "choose",
        "die",
        "fault",
        "write_in_step",
        "read_in_step",
        "touch",
        "notice",
        "creation_name",
        "next_epoch",
        "wake",
        "wake_once",
    }
    wrong = [
        f"{name}:{node.lineno}: calls .{node.func.attr}(); oracles are read-only"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in changing
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", BELOW_CLI)
def test_no_identity_hash_or_clock_below_cli(name: str):
    tree = tree_of(name)
    in_dunder_hash = {
        call
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == "__hash__"
        for call in ast.walk(function)
    }
    wrong = [
        f"{name}:{node.lineno}: calls {node.func.id}(); name objects by creation path, use digests"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("id", "hash")
        and node not in in_dunder_hash
    ]
    wrong += [
        f"{name}:{line}: imports {top}; take a clock as an argument, time is virtual"
        for line, top in imported_tops(name)
        if top in CLOCKS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", BELOW_CLI)
def test_bits_come_from_seeded_streams_only(name: str):
    wrong = [
        f"{name}:{line}: imports {top}; draw from ksmtrio.prng.Stream"
        for line, top in imported_tops(name)
        if top in CHANCE and name != "ksmtrio/prng.py"
    ]
    for node in ast.walk(tree_of(name)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in CHANCE
            and node.attr != "Random"
        ):
            wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)} is not seeded")
        is_call = isinstance(node, ast.Call)
        if is_call and ast.unparse(node.func).endswith("Random") and not node.args:
            wrong.append(f"{name}:{node.lineno}: Random() needs a seed")
    assert not wrong, "\n".join(wrong)


def is_set(node: ast.expr) -> bool:
    """Return whether an expression is visibly a set."""
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("set", "frozenset")
    )


@pytest.mark.parametrize("name", BELOW_CLI)
def test_no_loop_over_a_set_below_cli(name: str):
    loops = [
        node.iter
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
    ]
    wrong = [
        f"{name}:{loop.lineno}: loops over a set; sort it, or use dict.fromkeys"
        for loop in loops
        if is_set(loop)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [n for n in ALL if not n.startswith(TRIO_DOORS)])
def test_one_door_to_trio(name: str):
    wrong = [
        f"{name}:{line}: imports {top}; await the primitives of ksmtrio.sched"
        for line, top in imported_tops(name)
        if top in ("trio", "outcome")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of("ksmtrio/sched"))
def test_only_public_names_of_trio(name: str):
    wrong = [
        f"{name}:{line}: imports {dotted}; public names only"
        for line, dotted in imports(name)
        if dotted.startswith("trio") and any(part.startswith("_") for part in dotted.split("."))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of(*WORLD))
def test_the_emulated_world_has_no_other_world(name: str):
    forbidden = ("os", "random", "structlog", "threading", "time", "trio", "asyncio", "socket")
    wrong = [
        f"{name}:{line}: imports {top}; the emulated world has its own"
        for line, top in imported_tops(name)
        if top in forbidden
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", names_of("ksmtrio"))
def test_ksmtrio_never_imports_actors(name: str):
    wrong = [
        f"{name}:{line}: imports {top}; actors are found by name"
        for line, top in imported_tops(name)
        if top == "actors"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [*ALL, *names_of("tests")])
def test_every_file_names_its_licence(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.startswith(HEADER), f"{name}: begin with {HEADER.strip()!r}"
