"""`python -m benchmarks.forest_memory ours|theirs ROWS`: how far a fit's memory grows, in MB.

A process of its own, as a peak cannot be reset: it makes the data without a copy, notes what it
has, fits, and prints how far beyond that it ever was.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

N_FEATURES, N_TREES, DEPTH = 20, 50, 15


def main(which: str, rows: str) -> None:
    """Fit, and print the growth."""
    rng = np.random.default_rng(0)
    X = np.empty((int(rows), N_FEATURES))
    rng.standard_normal(out=X)
    signal = X[:, :5].sum(axis=1)
    signal += rng.normal(size=len(X))
    codes = (signal > 0).astype(np.int64)
    del signal
    if which == "ours":
        from proxy.engine.trees.random_forest import RandomForestClassifier
        from proxy.workers.threads import ThreadedMap, thread_count

        with ThreadedMap(thread_count()) as parallel:
            small = RandomForestClassifier(n_trees=2, max_depth=2)
            small.fit(X[:100], codes[:100], parallel=parallel)
            before = now_mb()
            forest = RandomForestClassifier(n_trees=N_TREES, max_depth=DEPTH)
            forest.fit(X, codes, parallel=parallel)
    else:
        from sklearn.ensemble import RandomForestClassifier as Theirs

        Theirs(2, max_depth=2, n_jobs=-1).fit(X[:100], codes[:100])
        before = now_mb()
        Theirs(N_TREES, max_depth=DEPTH, n_jobs=-1, random_state=0).fit(X, codes)
    print(peak_mb() - before)


def peak_mb() -> float:
    """Return the most memory that this program ever had.

    Not `ru_maxrss`: that counts what the process had before it became this program.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def now_mb() -> float:
    """Return the memory that it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
