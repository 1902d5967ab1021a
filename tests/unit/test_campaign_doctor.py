# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's fresh processes: which code they import."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ksmtrio.campaign.doctor import import_path


def test_a_checkout_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "given")
    (tmp_path / "pyproject.toml").touch()
    assert import_path(tmp_path) == os.pathsep.join([str(tmp_path), "given"])


def test_installed_packages_of_one_python_are_not_forced_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "given")
    assert import_path(tmp_path) == "given"
    monkeypatch.delenv("PYTHONPATH")
    assert import_path(tmp_path) == ""
