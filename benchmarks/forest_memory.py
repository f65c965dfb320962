"""`python -m benchmarks.forest_memory ours|theirs ROWS`: how far a fit's memory grows, in MB.

A process of its own, as a peak cannot be reset: it makes the data, notes the peak, fits, and prints
by how much the peak has grown.
"""

from __future__ import annotations

import resource
import sys

import numpy as np

N_FEATURES, N_TREES, DEPTH = 20, 20, 15


def peak_mb() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(which: str, rows: str) -> None:
    """Fit, and print the growth."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(int(rows), N_FEATURES))
    codes = (X[:, :5].sum(axis=1) + rng.normal(size=len(X)) > 0).astype(np.int64)
    if which == "ours":
        from proxy.engine.random_forest import RandomForestClassifier
        from proxy.workers.threads import ThreadedMap, thread_count

        RandomForestClassifier(n_trees=1, max_depth=2).fit(X[:100], codes[:100])
        before = peak_mb()
        with ThreadedMap(thread_count()) as parallel:
            forest = RandomForestClassifier(n_trees=N_TREES, max_depth=DEPTH)
            forest.fit(X, codes, parallel=parallel)
    else:
        from sklearn.ensemble import RandomForestClassifier as Theirs

        Theirs(1, max_depth=2).fit(X[:100], codes[:100])
        before = peak_mb()
        Theirs(N_TREES, max_depth=DEPTH, n_jobs=-1, random_state=0).fit(X, codes)
    print(peak_mb() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
