# SPDX-License-Identifier: GPL-2.0-or-later
"""Systematic exploration: each explorer covers all schedules of a subject, or says what it left."""
