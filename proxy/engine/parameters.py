"""What a hyper-parameter may be, and the words for one that it may not.

Owns the checks of a single value; which algorithm has which parameters is in `algorithms`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from proxy.errors import InvalidParameterError, UnsupportedError

Value: TypeAlias = int | float | bool | str | list["Value"] | None
ParameterType: TypeAlias = Literal["integer", "number", "boolean", "choice"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyper-parameter: type, default and range.

    Attributes
    ----------
    minimum, maximum : ends of the range; the maximum is left out where `excludes_maximum`
    choices : of a 'choice', the values accepted
    is_planned : known, and refused unless it has its default
    """

    name: str
    type: ParameterType
    default: Value
    help: str
    minimum: float = -math.inf
    maximum: float = math.inf
    excludes_maximum: bool = False
    choices: tuple[str | None, ...] = ()
    is_planned: bool = False

    def check(self, value: Value) -> Value:
        """Return the value in its own type.

        Raises
        ------
        InvalidParameterError
            22023: of another type, or out of range.
        UnsupportedError
            0A000: the parameter is planned and the value not its default.
        """
        if self.type == "boolean":
            checked = value if isinstance(value, bool) else self._refuse(value)
        elif self.type == "choice":
            is_choice = (value is None or isinstance(value, str)) and value in self.choices
            checked = value if is_choice else self._refuse(value)
        else:
            checked = self._check_number(value)
        if self.is_planned and checked != self.default:
            raise UnsupportedError(
                f'parameter "{self.name}" is not supported yet',
                hint=f"Leave it out, or give it its default, {_spell(self.default)}.",
            )
        return checked

    def _check_number(self, value: Value) -> Value:
        # To Python a bool is an int; to SQL it is none.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._refuse(value)
        is_whole = isinstance(value, int) or value.is_integer()
        below = value < self.maximum or (value == self.maximum and not self.excludes_maximum)
        if not (value >= self.minimum and below and math.isfinite(value)):
            return self._refuse(value)
        if self.type == "integer":
            return int(value) if is_whole else self._refuse(value)
        return float(value)

    def accepted(self) -> str:
        """Return the accepted values in words."""
        if self.type == "boolean":
            return "true or false"
        if self.type == "choice":
            return " or ".join(_spell(choice) for choice in self.choices)
        noun = "an integer" if self.type == "integer" else "a number"
        low = f"at least {self.minimum:g}" if math.isfinite(self.minimum) else ""
        word = "below" if self.excludes_maximum else "at most"
        high = f"{word} {self.maximum:g}" if math.isfinite(self.maximum) else ""
        return f"{noun}, {' and '.join(filter(None, (low, high)))}".rstrip(", ")

    def _refuse(self, value: Value) -> Value:
        raise InvalidParameterError(
            f'parameter "{self.name}" cannot be {_spell(value)}',
            detail=f'"{self.name}" takes {self.accepted()}.',
            hint=f"The default is {_spell(self.default)}.",
        )


def check_values(
    owner: str, parameters: Mapping[str, Parameter], given: Mapping[str, Value]
) -> dict[str, Value]:
    """Return a value for every parameter: the one given, checked, or the default.

    Parameters
    ----------
    owner : whose parameters these are, for the error
    """
    for name in given:
        if name not in parameters:
            raise InvalidParameterError(
                f'{owner} has no parameter "{name}"',
                detail=f"Its parameters are {', '.join(sorted(parameters))}.",
                hint=nearest_hint(name, parameters),
            )
    return {
        name: parameter.check(given[name]) if name in given else parameter.default
        for name, parameter in parameters.items()
    }


def nearest_hint(name: str, known: Mapping[str, object]) -> str:
    """Return a HINT that names the known words most like `name`, or all of them."""
    close = get_close_matches(name.lower(), list(known), n=2, cutoff=0.5)
    if close:
        return f"Perhaps you meant {' or '.join(close)}."
    return f"Choose from {', '.join(sorted(known))}."


def _spell(value: Value) -> str:
    """Return a value as CREATE MODEL would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list):
        return "[" + ", ".join(_spell(item) for item in value) + "]"
    return repr(value)
