# SPDX-License-Identifier: GPL-2.0-or-later
"""What `import ksmtrio` promises: the public names, each of them there and usable."""

from __future__ import annotations

from pathlib import Path

import pytest

import ksmtrio


def test_every_public_name_is_there() -> None:
    for name in ksmtrio.__all__:
        assert getattr(ksmtrio, name) is not None, name
    assert set(ksmtrio.__all__) <= set(dir(ksmtrio))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ksmtrio.no_such_name


def test_run_record_replay_from_python(tmp_path: Path) -> None:
    scenario = ksmtrio.load_scenario("first_race")
    kernel = ksmtrio.build_kernel(without=["ksm_notifier_first"])
    trace = tmp_path / "trace.jsonl"
    outcome = ksmtrio.run(scenario, kernel, ksmtrio.StrategySpec("round-robin", 0), record=trace)
    assert outcome.verdict == "finding"
    assert ksmtrio.replay(trace).same
    assert ksmtrio.run(scenario, kernel, outcome.choices).findings == outcome.findings
