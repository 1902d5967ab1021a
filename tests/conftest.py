# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that every group of tests shares. Helpers live in `tests/harness.py`."""

from __future__ import annotations

from hypothesis import settings

# No deadline: it is wall time, which no test may depend on. The gate draws equal examples each
# time; a nightly run picks `--hypothesis-profile=nightly` and explores.
settings.register_profile("gate", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("nightly", deadline=None, max_examples=5_000)
settings.load_profile("gate")
