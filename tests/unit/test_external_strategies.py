# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies of other packages: the example of CONTRIBUTING, installed, and broken ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ksmtrio.cli.main import cli
from ksmtrio.errors import BadInput
from ksmtrio.sched.strategies import StrategySpec, build, external, resolve
from ksmtrio.sched.strategies.profile import Profile
from tests.harness import Watched, run_actors
from tests.programs import FAULTS, busy

ROOT = Path(__file__).parents[2]
BROKEN = """
class NoStep:
    watches = False

    def __init__(self, spec):
        self.spec = spec

    def pick(self, enabled, current):
        return 0

    def choose(self, stream, n):
        return 0
"""


def example(language: str) -> str:
    """Return the example of CONTRIBUTING in that language."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Adding a strategy")[2]
    return section.partition(f"```{language}\n")[2].partition("```")[0]


def forget() -> None:
    """Have entry points looked up anew."""
    external.external_strategies.cache_clear()
    external._load.cache_clear()
    sys.modules.pop("my_strategies", None)


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with the example and a few broken strategies."""
    entry = example("toml").splitlines()[1].replace('"', "")
    info = tmp_path / "my_strategies-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-strategies\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[ksmtrio.strategies]\n{entry}\nno-step = my_strategies:NoStep\n"
        "gone = my_strategies:Gone\nrandom = my_strategies:NoStep\n"
    )
    (tmp_path / "my_strategies.py").write_text(example("python") + BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    forget()
    yield
    forget()


installed = pytest.mark.usefixtures("_installed")


def test_without_another_package_there_are_none() -> None:
    forget()
    assert external.external_strategies() == {}
    with pytest.raises(BadInput, match="unknown strategy 'last'"):
        resolve("last", 0)


@installed
def test_profile_and_depth_are_in_the_specification() -> None:
    profile = Profile(30, (4, 5))
    assert resolve("last", 7, profile=profile) == StrategySpec("last", 7, 0, 30, "", (4, 5))
    assert resolve("last", 7, depth=3, points=9) == StrategySpec("last", 7, 3, 9)


@installed
def test_external_strategy_takes_the_choices() -> None:
    strategy = Watched(build(resolve("last", 1)))
    world = run_actors(busy, strategy=strategy, faults=FAULTS)
    assert world.rt.choices.schedule == [number - 1 for number in strategy.alternatives]


@installed
def test_external_strategy_is_listed_and_usable_by_its_name() -> None:
    listed = CliRunner().invoke(cli, ["list", "strategies", "--json"])
    rows = {row["name"]: row["description"] for row in json.loads(listed.stdout)}
    assert rows["last"] == "The actor that was created last runs, whenever it can."
    assert rows["no-step"] == "no description (my_strategies:NoStep)"
    assert "cannot be loaded" in rows["gone"]
    done = CliRunner().invoke(cli, ["run", "first_race", "--strategy", "last", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["strategy"] == "last"


@installed
def test_name_of_our_own_cannot_be_taken() -> None:
    assert type(build(resolve("random", 1))).__name__ == "RandomStrategy"


@installed
def test_strategy_that_lacks_something_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"'no-step' \(my_strategies:NoStep\) has no demote, step"):
        build(resolve("no-step", 1))


@installed
def test_strategy_that_cannot_be_loaded_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"'gone' \(my_strategies:Gone\) cannot be loaded: Attrib"):
        build(resolve("gone", 1))
