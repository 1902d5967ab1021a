# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `ksmtrio`: one file per verb, no logic."""
