# SPDX-License-Identifier: GPL-2.0-or-later
"""House rules that linters lack; each message says what to do instead."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ksmtrio.campaign.listing import points
from ksmtrio.scenario import builtin_groups, builtin_names, load_scenario
from ksmtrio.scenario.pairs import MEMBERS

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("ksmtrio/**/*.py"), *ROOT.glob("actors/*.py")])
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc"}
LABEL = re.compile(r"^[a-z_0-9]+\.[A-Za-z0-9.]+(/[a-z_]+)?(#[2-9])?$")


def names(path: Path) -> str:
    """Return a path as people quote it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_modules_and_functions_fit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= MODULE_LINES_MAX, f"{names(path)}: {lines} lines; split it by topic"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, (
                f"{names(path)}: {node.name} has {length} lines; a function fits a screen: "
                "give a part of it a name"
            )


def test_no_module_is_named_after_nothing() -> None:
    vague = [names(path) for path in SOURCES if path.stem in FORBIDDEN]
    assert not vague, f"{vague}: name the module after what it is about"


def test_labels_have_the_form_function_dot_step() -> None:
    wrong = [row["label"] for row in points() if not LABEL.match(row["label"])]
    assert not wrong, f"{wrong}: write function.step, then /helper, then #2"


def test_every_built_in_scenario_says_what_it_is_about() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pairs = builtin_groups()["pairs"]
    for name in builtin_names():
        scenario = load_scenario(name)
        assert scenario.name == name, f"{name}: the name in the file differs"
        assert scenario.text.startswith("# "), f"{name}: begin with a comment that says why"
        assert scenario.description.endswith("."), f"{name}: describe it in one sentence"
        if name not in pairs:
            assert f"`{name}`" in readme, f"{name}: add it to the table in README.md"


def test_readme_names_every_member_of_the_pairs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for member in MEMBERS:
        assert f"`{member}`" in readme, f"{member}: add it to README's sentence about pairs"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_tests_that_a_module_names_exist(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    for named in re.findall(r"`(tests/[^`]+)`", docstring):
        assert list(ROOT.glob(named.rstrip("/"))), f"{names(path)} names {named}: no such test"
