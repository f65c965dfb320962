"""How the kernels are compiled: the decorators and the names of argument types.

Owns the options of numba; leaves the code to the kernels. A function that Python calls is a
`kernel`, with its signature given, so that importing it compiles it, or reads it from numba's
cache, and no call ever does. A function that only kernels call is `inner`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types

Function = TypeVar("Function", bound=Callable[..., Any])

# numba's own hints describe less than what it accepts, and differ between its versions.
_compile: Any = njit
_types: Any = types

INT64 = types.int64
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
WRITABLE_BYTES = types.Array(types.uint8, 1, "C")
OFFSETS = types.Array(types.int64, 1, "C")
TABLE = types.Array(types.int64, 2, "C")
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
WRITABLE_FLOATS = types.Array(types.float64, 1, "C")
MATRIX = types.Array(types.float64, 2, "C")
VOID = types.void

# Without `_nrt` numba counts references to each array at each inner call, with atomic
# instructions that cost more than the work (measured: 100 ns for a row that takes 8); the Python
# caller holds the arrays anyway. Likewise arrays are passed in eight words, hence `forceinline`.
_COMMON = {"nogil": True, "_nrt": False}


PACKAGE = Path(__file__).parents[1]


@functools.cache
def _fingerprint(source: Path) -> str:
    """Return a name for the present text of a file and of all that it imports of this package.

    numba keeps compiled kernels beside their source and compares the age of that file alone: the
    old inner functions of another file would live on in it. So the name is part of the key.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(_with_imports(source)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _with_imports(source: Path) -> set[Path]:
    found = {Path(__file__)}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return found


def _imports(source: Path) -> list[Path]:
    """Return the files of this package that the file imports at its top."""
    modules: list[str] = []
    for statement in ast.parse(source.read_bytes()).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            modules.append(statement.module)
            modules.extend(f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.Import):
            modules.extend(alias.name for alias in statement.names)
    inside = [name.split(".")[1:] for name in modules if name.split(".")[0] == PACKAGE.name]
    paths = [PACKAGE.joinpath(*parts).with_suffix(".py") for parts in inside if parts]
    return [path for path in paths if path.is_file()]


def tuple_of(count: int) -> Any:
    """Return the type of a tuple of that many int64."""
    return _types.UniTuple(INT64, count)


def kernel(*signatures: Any) -> Callable[[Function], Function]:
    """Compile a function for Python to call; the signatures are all that it will accept."""

    def decorate(function: Function) -> Function:
        function.__qualname__ += f"_{_fingerprint(Path(inspect.getfile(function)))}"
        try:
            compiled = _compile(list(signatures), cache=True, **_COMMON)(function)
        except RuntimeError:  # no folder to keep it in can be written: compile at each start
            compiled = _compile(list(signatures), **_COMMON)(function)
        return cast("Function", compiled)

    return decorate


def inner(function: Function) -> Function:
    """Compile a function into the kernels that call it."""
    return cast("Function", _compile(forceinline=True, **_COMMON)(function))
