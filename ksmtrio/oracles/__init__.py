# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-only judges. They see only what is in the machine, never which patches are in."""
