"""What the terminal is told of compilation."""

from __future__ import annotations

import io

from numba import njit

from proxy.compilation_notice import CompilationNotice


def test_the_first_compilation_is_told_and_all_are_counted() -> None:
    """Two functions, one with another inside: a line at the beginning and one at the end."""

    @njit
    def within(x: int) -> int:
        return x + 1

    stream = io.StringIO()
    with CompilationNotice(stream):
        assert njit(lambda x: within(x) * 2)(1) == 4
        assert njit(lambda x: x * 3)(2) == 6
    first, last = stream.getvalue().splitlines()
    assert first.startswith("pgseer: compiling its inner loops")
    assert last.startswith("pgseer: 2 loops compiled in ")


def test_where_nothing_is_compiled_nothing_is_said() -> None:
    """A start from the cache is silent."""
    stream = io.StringIO()
    with CompilationNotice(stream):
        pass
    assert stream.getvalue() == ""
