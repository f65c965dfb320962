"""After `warm` no kernel has anything left to compile."""

from __future__ import annotations

from proxy.kernels import copy_rows, dictionary, floats, frames, rows, splice
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
    ]
    before = [list(kernel.signatures) for kernel in kernels]  # type: ignore[attr-defined]
    assert all(before)
    warm()
    assert [list(kernel.signatures) for kernel in kernels] == before  # type: ignore[attr-defined]
