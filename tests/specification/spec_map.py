# SPDX-License-Identifier: GPL-2.0-or-later
"""The map from the specification to the code, and what is wrong with it.

The specification numbers the steps of each kernel function (`steps.json`). A step has a schedule
point or a cell operation with its label, or a line in `waivers.toml`. Where the specification is
prose, the steps are those that the function's own docstring numbers, under the line ``Steps of
TAG:`` or ``Steps of TAG, for each page:``. `problems` compares the two sides; `figures` counts
them. Figures on the terminal: ``python -m tests.specification.spec_map``.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs

from ksmtrio.campaign.listing import points

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
SOURCES: Final = sorted((ROOT / "ksmtrio").rglob("*.py"))

LOCK_CLASSES: Final = ("BitLock", "Mutex", "RwSem", "SpinLock")
LOCAL: Final = "purely local"
GUARDED: Final = "guarded by "
SILENT: Final = (
    *("change_in_step", "read_in_step", "write_in_step", "touch", "die", "unlock"),
    *("fault", "might_sleep", "notice", "trace"),
    *("EmulatorError", "KernelBug", "NullDereference", "VmBug"),
)
"""Calls that take a label and announce nothing, unless they are awaited."""
WAIVED_OF: Final = 3
"""Fewer than one entry in three may be waived."""

_NUMBER: Final = re.compile(r"\d+")
_HEADER: Final = re.compile(r"^\s*Steps of ([^\s,:]+)(, [^:]+)?:$")
_NUMBERED: Final = re.compile(r"^\s*(\d+)\. \S")
_CALLS: Final = re.compile(r"calls ([^ :;]+)(?: and ([^ :;]+))?")

Step = tuple[str, int]
"""(tag, number at top level)."""


@attrs.frozen
class Function:
    """One tagged function of the specification; no steps: its section is prose."""

    tag: str
    function: str
    steps: tuple[int, ...]


@attrs.frozen
class Waiver:
    """Why a step has no point: `reason` is one of two, `note` says it in a few words."""

    reason: str
    note: str


@attrs.frozen
class Map:
    """Both sides.

    Attributes:
        functions: what the specification numbers.
        rows: what ``ksmtrio list points --json`` prints.
        documented: tag -> step numbers in the docstring that writes a prose section out.
        waivers: ``TAG.N`` -> why.
        locks: names of the locks that the code creates.
        silent: labels that no operation announces.
    """

    functions: tuple[Function, ...]
    rows: Sequence[Mapping[str, Any]]
    documented: Mapping[str, tuple[int, ...]]
    waivers: Mapping[str, Waiver]
    locks: frozenset[str]
    silent: frozenset[str] = frozenset()

    @cached_property
    def wanted(self) -> dict[str, list[str]]:
        """Tag -> its steps as ``TAG.N``, numbered by the specification or by a docstring."""
        return {
            f.tag: [f"{f.tag}.{n}" for n in f.steps or self.documented.get(f.tag, ())]
            for f in self.functions
        }

    @cached_property
    def covered(self) -> frozenset[str]:
        """The steps at which there is a point."""
        return frozenset(step for row in self.rows for step in self.steps_of(row))

    @cached_property
    def tags_by_function(self) -> dict[str, str]:
        """Kernel function -> its tag."""
        return {f.function: f.tag for f in self.functions}

    def steps_of(self, row: Mapping[str, Any]) -> list[str]:
        """Return the steps that a point stands for, as ``TAG.N``.

        Nested and lettered sub-steps, ``#2`` and ``/helper`` count with their parent. A helper
        with a tag of its own (put_page) that goes by its caller's label is at its own first step
        as well.
        """
        steps = []
        if row["tag"]:
            number = _NUMBER.match(number_of(row))
            steps.append(f"{row['tag']}.{number[0]}" if number else row["step"])
        helper = row["label"].partition("/")[2].partition("#")[0]
        if helper in self.tags_by_function:
            steps.append(f"{self.tags_by_function[helper]}.1")
        return steps


def number_of(row: Mapping[str, Any]) -> str:
    """Return a point's step without the tag: ``8.4.1`` of ``SG.8.4.1``."""
    return str(row["step"]).removeprefix(f"{row['tag']}.")


def specification() -> tuple[Function, ...]:
    """Return the tagged functions in the specification's order."""
    data = json.loads((HERE / "steps.json").read_text(encoding="utf-8"))
    return tuple(
        Function(row["tag"], row["function"], tuple(row["steps"])) for row in data["functions"]
    )


def waivers() -> dict[str, Waiver]:
    """Return the lines of `waivers.toml`."""
    data = tomllib.loads((HERE / "waivers.toml").read_text(encoding="utf-8"))
    return {step: Waiver(*line) for step, line in data.items()}


def _steps_of(docstring: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (tag, numbers) for every list of steps in a docstring; a blank line ends a list."""
    tag, numbers = "", list[int]()
    for line in [*docstring.splitlines(), ""]:
        header = _HEADER.match(line)
        if tag and (header or not line.strip()):
            yield tag, tuple(numbers)
            tag, numbers = "", []
        if header:
            tag = header[1]
        elif tag and (numbered := _NUMBERED.match(line)):
            numbers.append(int(numbered[1]))


def documented_steps(sources: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return tag -> numbers for the steps that docstrings of functions write out."""
    found: dict[str, tuple[int, ...]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for tag, numbers in _steps_of(ast.get_docstring(node) or ""):
                    assert tag not in found, f"two docstrings write out the steps of {tag}"
                    found[tag] = numbers
    return found


def lock_names(sources: Iterable[str]) -> frozenset[str]:
    """Return the lockdep classes of the locks that the code creates, or their fields' names."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in LOCK_CLASSES
            ):
                texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
                found.update(str(text) for text in texts[-1:])
    return frozenset(found)


def _innermost_call(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return the name of the silent call that an expression is an argument of, else nothing."""
    while not isinstance(node, ast.Call | ast.stmt):
        node = parents[node]
    if isinstance(node, ast.stmt) or isinstance(parents[node], ast.Await):
        return ""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name if name in SILENT else ""


def silent_labels(sources: Iterable[str]) -> frozenset[str]:
    """Return the labels that only unlocks, exceptions and parts of other steps make use of."""
    found: set[str] = set()
    for source in sources:
        tree = ast.parse(source)
        nodes = list(ast.walk(tree))
        parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
        functions = {
            target.id: node.value.args[1].value
            for node in nodes
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "Points"
            and isinstance(node.value.args[1], ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        silent: set[str] = set()
        loud: set[str] = set()
        for node in nodes:
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Name)
                and node.value.id in functions
                and isinstance(node.slice, ast.Constant)
            ):
                label = f"{functions[node.value.id]}.{node.slice.value}"
                (silent if _innermost_call(node, parents) else loud).add(label)
        found |= silent - loud
    return frozenset(found)


def load() -> Map:
    """Return the map as it is in this tree."""
    sources = [path.read_text(encoding="utf-8") for path in SOURCES]
    return Map(
        functions=specification(),
        rows=points(),
        documented=documented_steps(sources),
        waivers=waivers(),
        locks=lock_names(sources),
        silent=silent_labels(sources),
    )


def _missing(of: Map) -> Iterator[str]:
    for steps in of.wanted.values():
        for step in steps:
            if step not in of.covered and step not in of.waivers:
                yield f"{step}: neither a point with this label nor a line in waivers.toml"


def _undocumented(of: Map) -> Iterator[str]:
    for function in of.functions:
        numbers = of.documented.get(function.tag)
        if function.steps:
            if numbers not in (None, function.steps):
                yield f"{function.tag}: its docstring numbers {numbers}, the specification not"
        elif numbers is None:
            yield f"{function.tag}: prose; write `Steps of {function.tag}:` into the docstring"
        elif numbers != tuple(range(1, len(numbers) + 1)):
            yield f"{function.tag}: the docstring numbers its steps {numbers}, not from 1 on"
        elif not any(f"{function.tag}.{n}" in of.covered for n in numbers):
            yield f"{function.tag}: prose, but not one point carries its tag"


def _unknown(of: Map) -> Iterator[str]:
    names = {f.tag: f.function for f in of.functions if f.steps}
    for row in of.rows:
        tag, label = row["tag"], row["label"]
        if not tag:
            continue
        if tag not in of.wanted:
            yield f"{label}: the specification has no tag {tag}"
        elif (step := of.steps_of(row)[0]) not in of.wanted[tag]:
            yield f"{label}: {step} is no step of {tag}"
        elif names.get(tag, row["function"]) != row["function"] and "." not in number_of(row):
            yield f"{label}: {tag} is {names[tag]}; others may only carry its nested steps"


def _dead_waivers(of: Map) -> Iterator[str]:
    wanted = {step for steps in of.wanted.values() for step in steps}
    tags = {function.tag for function in of.functions}
    for step, waiver in of.waivers.items():
        if step not in wanted:
            yield f"waiver of {step}: no such step"
        if step in of.covered:
            yield f"waiver of {step}: the step has a point; delete the line"
        lock = waiver.reason.removeprefix(GUARDED)
        if waiver.reason.startswith(GUARDED):
            if lock not in of.locks:
                yield f"waiver of {step}: no lock is named {lock}"
        elif waiver.reason != LOCAL:
            yield f"waiver of {step}: the reason is `{LOCAL}` or `{GUARDED}LOCK`"
        if not waiver.note:
            yield f"waiver of {step}: say why in a few words"
        if calls := _CALLS.match(waiver.note):
            for tag in filter(None, calls.groups()):
                if tag not in tags:
                    yield f"waiver of {step}: calls {tag}, which is no tag"


def _silent(of: Map) -> Iterator[str]:
    tagged = {row["label"] for row in of.rows if row["tag"]}
    for label in sorted(of.silent & tagged):
        yield f"{label}: no awaited operation announces it; only unlocks or exceptions name it"


def _too_many(of: Map) -> Iterator[str]:
    count = figures(of)
    if count["waived"] * WAIVED_OF >= count["entries"]:
        yield f"{count['waived']} of {count['entries']} entries are waived: under a third may be"


def problems(of: Map) -> list[str]:
    """Return everything that is wrong, one sentence each; nothing: the map is complete."""
    rules = (_missing, _undocumented, _unknown, _dead_waivers, _silent, _too_many)
    return [problem for rule in rules for problem in rule(of)]


def figures(of: Map) -> dict[str, int]:
    """Count points, entries (a numbered step each, a prose section each), covered and waived."""
    numbered = [f"{f.tag}.{n}" for f in of.functions for n in f.steps]
    prose = [f.tag for f in of.functions if not f.steps]
    return {
        "points": len(of.rows),
        "entries": len(numbered) + len(prose),
        "steps": len(numbered),
        "steps covered": sum(step in of.covered for step in numbered),
        "prose sections": len(prose),
        "steps of prose sections": sum(len(of.documented.get(tag, ())) for tag in prose),
        "waived": len(of.waivers),
    }


def main() -> None:
    """Print the figures, then the problems."""
    of = load()
    for name, number in figures(of).items():
        print(f"{number:5} {name}")  # noqa: T201 - this is the program's output
    for problem in problems(of):
        print(problem)  # noqa: T201


if __name__ == "__main__":
    main()
