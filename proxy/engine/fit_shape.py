"""How large a fit is: what decides, beside its parameters, how much memory it takes.

Owns the value. What each algorithm makes of it is said in its own room.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FitShape:
    """The size of what is fitted, and of what it is fitted by.

    Attributes
    ----------
    n_columns : of the design matrix, after one-hot coding
    n_classes : 0 without classes
    n_threads : that may be at work at a time
    """

    n_rows: int
    n_columns: int
    n_classes: int
    n_threads: int
