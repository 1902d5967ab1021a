# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces: what is recorded of an execution, how it is written, read, digested and compared."""
