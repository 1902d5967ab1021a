# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns: many executions, in worker processes, and what they amount to."""
