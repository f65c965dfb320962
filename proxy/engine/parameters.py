"""What a hyper-parameter may be, and the words for one that it may not.

Owns the checks of a single value; which algorithm has which parameters is in `algorithms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from proxy.errors import InvalidParameterError

Value: TypeAlias = int | float | bool | str | list["Value"] | None
ParameterType: TypeAlias = Literal["integer", "number", "boolean", "choice", "integers", "text"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyper-parameter: type, default and range.

    Attributes
    ----------
    minimum, maximum : ends of the range, of 'integers' each one's; left out where it says so
    choices : of a 'choice', the values accepted; of any other type, those accepted beside it
    cost : what a value beyond the range would need, in a sentence
    """

    name: str
    type: ParameterType
    default: Value
    help: str
    minimum: float = -math.inf
    maximum: float = math.inf
    excludes_maximum: bool = False
    excludes_minimum: bool = False
    choices: tuple[str | None, ...] = ()
    cost: Callable[[float], str] | None = None

    def check(self, value: Value) -> Value:
        """Return the value in its own type.

        Raises
        ------
        InvalidParameterError
            22023: of another type, or out of range.
        """
        checked = value
        if (value is None or isinstance(value, str)) and value in self.choices:
            pass
        elif self.type == "boolean":
            checked = value if isinstance(value, bool) else self._refuse(value)
        elif self.type == "text":
            checked = value if isinstance(value, str) and value else self._refuse(value)
        elif self.type == "integers":
            checked = self._check_list(value)
        elif self.type == "choice":
            checked = self._refuse(value)
        else:
            checked = self._check_number(value)
        return checked

    def _check_list(self, value: Value) -> Value:
        if not isinstance(value, list) or not value:
            return self._refuse(value)
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int | float):
                return self._refuse(value)
            if not (float(item).is_integer() and self._is_within(item)):
                return self._refuse(value)
        return [int(item) for item in value if isinstance(item, int | float)]

    def _check_number(self, value: Value) -> Value:
        # To Python a bool is an int; to SQL it is none.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._refuse(value)
        if not (math.isfinite(value) and self._is_within(value)):
            return self._refuse(value)
        if self.type == "integer":
            return int(value) if float(value).is_integer() else self._refuse(value)
        return float(value)

    def _is_within(self, value: float) -> bool:
        above = value > self.minimum or (value == self.minimum and not self.excludes_minimum)
        below = value < self.maximum or (value == self.maximum and not self.excludes_maximum)
        return above and below

    def accepted(self) -> str:
        """Return the accepted values in words."""
        if self.type == "boolean":
            return "true or false"
        choices = [_spell(choice) for choice in self.choices]
        if self.type == "choice":
            return " or ".join(choices)
        return " or ".join([self._range(), *choices])

    def _range(self) -> str:
        if self.type == "text":
            return "a name"
        noun = {"integer": "an integer", "number": "a number", "integers": "a list of integers"}
        word = "above" if self.excludes_minimum else "at least"
        low = f"{word} {self.minimum:g}" if math.isfinite(self.minimum) else ""
        word = "below" if self.excludes_maximum else "at most"
        high = f"{word} {self.maximum:g}" if math.isfinite(self.maximum) else ""
        ends = " and ".join(filter(None, (low, high)))
        return f"{noun[self.type]}, {ends}".rstrip(", ")

    def _refuse(self, value: Value) -> Value:
        detail = f'"{self.name}" takes {self.accepted()}.'
        largest = _largest(value)
        if self.cost is not None and largest > self.maximum:
            detail += f" {self.cost(largest)}"
        raise InvalidParameterError(
            f'parameter "{self.name}" cannot be {_spell(value)}',
            detail=detail,
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


def _largest(value: Value) -> float:
    """Return a number, the largest of a list of some, or 0 for anything else."""
    items = value if isinstance(value, list) else [value]
    numbers = [
        float(item)
        for item in items
        if isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item)
    ]
    return max(numbers, default=0.0)


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
