"""How long a field of a CSV file may be: the standard reader's limit, raised once for the process.

The `csv` module's own limit of 128 KiB is process-wide and too small for long documents; without a
limit a quote left open would take a whole file into one field.
"""

from __future__ import annotations

import csv

LARGEST_FIELD = 64 << 20
"""Characters."""


def allow_long_fields() -> None:
    """Raises the reader's limit to `LARGEST_FIELD`; never lowers it."""
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_FIELD))
