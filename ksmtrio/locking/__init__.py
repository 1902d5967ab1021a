# SPDX-License-Identifier: GPL-2.0-or-later
"""Emulated kernel locks, built on the scheduler's `point`, `block` and `wake`."""
