"""After `warm` no kernel has anything left to compile."""

from __future__ import annotations

from proxy.kernels import (
    clusters,
    copy_rows,
    dictionary,
    encoding,
    floats,
    frames,
    kd_tree,
    linear,
    network,
    polynomial,
    rows,
    splice,
    trees,
)
from proxy.kernels.warmup import warm


def test_kernels_are_compiled_for_the_given_signatures_alone() -> None:
    """Importing compiled each kernel, and warming adds no other version of it."""
    kernels = [
        copy_rows.read_copy,
        dictionary.rehash,
        floats._format_all,
        frames.skip_frames,
        rows.decode_rows,
        splice.splice_rows,
        linear.sum_rows,
        encoding.encode_rows,
        polynomial.evaluate,
        clusters.find_nearest_centers,
        kd_tree.find_values_of_nearest,
        network.score_rows,
        trees.score_few,
        trees.score_many,
    ]
    before = [list(kernel.signatures) for kernel in kernels]  # type: ignore[attr-defined]
    assert all(before)
    warm()
    assert [list(kernel.signatures) for kernel in kernels] == before  # type: ignore[attr-defined]
