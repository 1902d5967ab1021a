# SPDX-License-Identifier: GPL-2.0-or-later
"""The actors: each file is one kind of emulated thread. Imports ksmtrio, never the reverse."""
