# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies of other packages: the example of CONTRIBUTING, installed, and broken ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ksmtrio.campaign.stress import StressPlan, stress
from ksmtrio.cli.main import cli
from ksmtrio.errors import BadInput
from ksmtrio.kconfig import build_kernel
from ksmtrio.sched.strategies import StrategySpec, build, external, resolve
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.subject import subject_named
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


class Far(Last):
    def pick(self, enabled, current):
        return len(enabled)


class Wild(Last):
    def choose(self, stream, n):
        return -1


class Vague(Last):
    def pick(self, enabled, current):
        return None


class Raises(Last):
    def pick(self, enabled, current):
        return {}["nothing"]


class Unmade(Last):
    def __init__(self, spec):
        raise ValueError("no such depth")
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
        "far = my_strategies:Far\nwild = my_strategies:Wild\nvague = my_strategies:Vague\n"
        "raises = my_strategies:Raises\nunmade = my_strategies:Unmade\n"
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


WRONG = [
    ("far", "Far", "chose 4; with 4 actors enabled it is 0 to 3"),
    ("vague", "Vague", "chose None; with 4 actors enabled it is 0 to 3"),
    ("wild", "Wild", "chose -1; with 2 outcomes for the faults stream it is 0 to 1"),
    ("raises", "Raises", "raised KeyError: 'nothing'"),
    ("unmade", "Unmade", "raised ValueError: no such depth"),
]


@installed
@pytest.mark.parametrize(("name", "made", "what"), WRONG)
def test_strategy_that_does_something_wrong_is_bad_input_and_named(
    name: str, made: str, what: str
) -> None:
    with pytest.raises(BadInput) as raised:
        run_actors(busy, strategy=build(resolve(name, 1)), faults=FAULTS)
    assert str(raised.value) == f"strategy {name!r} (my_strategies:{made}) {what}"


@installed
def test_wrong_choice_of_an_external_strategy_is_no_replay_that_diverged() -> None:
    for verb in (["run"], ["stress", "--runs", "2", "--jobs", "1"]):
        done = CliRunner().invoke(cli, [*verb, "first_race", "--strategy", "far"])
        assert done.exit_code == 2
        assert "strategy 'far' (my_strategies:Far) chose " in done.stderr
        assert len(done.stderr.splitlines()) == 1


@installed
def test_external_strategy_takes_the_choices_in_worker_processes() -> None:
    plan = StressPlan(
        subjects=(subject_named("first_race", build_kernel()),),
        kernel=build_kernel(),
        strategy="last",
        runs=40,
        jobs=2,
        canary=False,
    )
    report = stress(plan)
    assert report.strategies == {"last": 40}
    assert report.evidence.distinct_schedules == 1
