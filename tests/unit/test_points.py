# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels: declared once, rendered as function.step, and used where they are declared."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import ksmtrio
from ksmtrio.sched.points import PointInfo, Points, points_of


def modules() -> list[ModuleType]:
    """Return every module of ksmtrio."""
    found = pkgutil.walk_packages(ksmtrio.__path__, "ksmtrio.")
    return [importlib.import_module(i.name) for i in found if not i.name.endswith("__main__")]


def declared(module: ModuleType) -> dict[str, Points]:
    """Return the points that a module declares itself, by variable name."""
    file = module.__name__.replace(".", "/") + ".py"
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Points) and value.file == file
    }


def test_label_is_function_and_step() -> None:
    points = Points("ksmtrio.mm.ksm_tree", "get_ksm_page", "GK", "1 2 4/put_page 4#2")
    assert points["1"] == "get_ksm_page.1"
    assert points["4/put_page"] == "get_ksm_page.4/put_page"
    assert points["4#2"] == "get_ksm_page.4#2"


def test_undeclared_step_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Points("m", "get_ksm_page", "GK", "1 2")["3"]


def test_info_names_the_step_of_the_specification_and_the_file() -> None:
    points = Points("ksmtrio.mm.ksm_tree", "get_ksm_page", "GK", "4/put_page 4#2 8.4.2")
    assert list(points.infos()) == [
        PointInfo(f"get_ksm_page.{step}", "get_ksm_page", "GK", spec, "ksmtrio/mm/ksm_tree.py")
        for step, spec in [("4/put_page", "GK.4"), ("4#2", "GK.4"), ("8.4.2", "GK.8.4.2")]
    ]


def test_function_without_a_tag_has_no_step_of_the_specification() -> None:
    (info,) = Points("m", "msleep", "", "1").infos()
    assert info.step == ""


def test_points_of_keeps_order_and_skips_what_a_module_only_imported() -> None:
    here, there = ModuleType("pkg.here"), ModuleType("pkg.there")
    here.A = Points("pkg.here", "f", "F", "2 1")  # type: ignore[attr-defined]
    here.B = Points("pkg.here", "g", "G", "1")  # type: ignore[attr-defined]
    there.A = here.A  # type: ignore[attr-defined]
    assert [info.label for info in points_of([there, here])] == ["f.2", "f.1", "g.1"]


def test_points_of_names_each_label_once() -> None:
    here = ModuleType("pkg.here")
    here.A = here.B = Points("pkg.here", "f", "F", "1")  # type: ignore[attr-defined]
    assert len(points_of([here])) == 1


def used_steps(module: ModuleType) -> Iterator[tuple[Points, str | None]]:
    """Yield each use of points in a module's source; None where the step is not a literal."""
    tree = ast.parse(inspect.getsource(module))
    subscripted: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            points = vars(module).get(node.value.id)
            subscripted.add(id(node.value))
            if isinstance(points, Points):
                literal = isinstance(node.slice, ast.Constant)
                yield points, node.slice.value if literal else None  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            points = vars(module).get(node.id)
            if isinstance(points, Points) and id(node) not in subscripted:
                yield points, None


def computed_suffixes(module: ModuleType) -> set[str]:
    """Return what a module's helpers append to their caller's label, as in f"{at}#2"."""
    return {
        part.value
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.JoinedStr)
        for part in node.values
        if isinstance(part, ast.Constant) and part.value[:1] in {"#", "/"}
    }


def test_every_declared_label_is_used() -> None:
    used: dict[int, set[str | None]] = {}
    everything = modules()
    suffixes = set[str]().union(*map(computed_suffixes, everything))
    for module in everything:
        for points, step in used_steps(module):
            used.setdefault(id(points), set()).add(step)

    def is_used(step: str, taken: set[str | None]) -> bool:
        by_a_helper = any(
            step.endswith(suffix) and is_used(step.removesuffix(suffix), taken)
            for suffix in suffixes
        )
        return step in taken or None in taken or by_a_helper

    unused = [
        label
        for module in everything
        for points in declared(module).values()
        for step, label in points.items()
        if not is_used(step, used.get(id(points), set()))
    ]
    message = f"delete these declared steps or add the operations they announce: {unused}"
    assert not unused, message


def test_no_label_is_declared_twice() -> None:
    labels = [
        label
        for module in modules()
        for points in {id(p): p for p in declared(module).values()}.values()
        for label in points.values()
    ]
    assert [label for label in sorted(set(labels)) if labels.count(label) > 1] == []
