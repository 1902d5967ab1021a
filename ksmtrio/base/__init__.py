# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver core's part: memory blocks (drivers/base/)."""
