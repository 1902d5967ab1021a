# SPDX-License-Identifier: GPL-2.0-or-later
"""Deterministic runtime: actors, cells, choices, virtual time.

The only package that imports trio.
"""
