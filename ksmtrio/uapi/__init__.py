# SPDX-License-Identifier: GPL-2.0-or-later
"""What user tasks may do: system calls, memory accesses that may fault, sysfs files."""
