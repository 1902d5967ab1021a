# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel model: one file per kernel file, one function per kernel function, one await per step.

Every function that can reach another CPU's eyes is `async`; between two awaits nothing else runs.
Functions take the kernel's global variables as `g` (see `globals.py`).
"""
