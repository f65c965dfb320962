"""Arguments to features: which input of the model each argument is.

Owns the binding rules of PREDICT. Leaves finding the arguments to `calls` and what the upstream is
asked for each input to `inputs`.

1. `feature => expression` binds to that feature; `key => expression` names the row and binds to
   nothing; `class => 'x'` is PREDICT_PROBA's.
2. A column reference whose last name is a feature's binds to that feature.
3. `*` and `t.*` bind each of their columns to the feature of its name, unless 1 or 2 has bound it;
   other columns are ignored.
4. What is left binds by position. Without a star, the i-th argument (named ones not counted) takes
   the i-th feature if it is free; those that find it taken, and all of them beside a star, take the
   features still free, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import (
    InvalidParameterError,
    ModelSyntaxError,
    ProxyError,
    UndefinedColumnError,
    UndefinedFunctionError,
    UnsupportedError,
)
from proxy.rewrite.calls import Argument, ArgumentKind, Call, Function
from proxy.rewrite.catalog import ModelSignature
from proxy.rewrite.literals import quote_identifier

IDENTITY_LABEL, CLASS_LABEL = "key", "class"


@dataclass(frozen=True, slots=True)
class Input:
    """The expression of one feature; `argument` is where it came from."""

    text: str
    argument: Argument


@dataclass(frozen=True, slots=True)
class Binding:
    """Every feature's input, None for those to impute, and the class that was asked for."""

    inputs: tuple[Input | None, ...]
    class_index: int | None


def bind(
    call: Call, signature: ModelSignature, star_columns: Mapping[str, tuple[str, ...]]
) -> Binding:
    """Bind a call's arguments to a model's features.

    Parameters
    ----------
    star_columns : a star's text (`star_key`) -> the names it stands for

    Raises
    ------
    ModelSyntaxError
        A feature is given twice.
    UndefinedFunctionError
        There are more arguments than features, or one has an unknown label.
    UndefinedColumnError
        The stars hold no feature at all and nothing else is given.
    InvalidParameterError
        The class asked for is none of the model's.
    """
    places = {feature.name: index for index, feature in enumerate(signature.features)}
    bound: dict[int, Input] = {}
    class_argument = None
    positional: list[tuple[int, Argument]] = []
    order = 0
    for argument in call.arguments:
        if argument.kind is ArgumentKind.NAMED:
            if argument.name == CLASS_LABEL and call.function is Function.PREDICT_PROBA:
                class_argument = argument
            elif argument.name != IDENTITY_LABEL:
                _bind_named(argument, places, bound, signature)
        elif argument.kind is not ArgumentKind.STAR:
            if argument.kind is ArgumentKind.COLUMN and argument.name in places:
                _bind_once(argument, places[argument.name], bound)
            else:
                positional.append((order, argument))
            order += 1
    stars = [argument for argument in call.arguments if argument.kind is ArgumentKind.STAR]
    for star in stars:
        _bind_star(star, places, bound, star_columns)
    _bind_positional(positional, bound, signature, by_index=not stars)
    if stars and not bound and places:
        raise UndefinedColumnError(
            f'no column of {star_key(stars[0])} is a feature of model "{signature.name}"',
            hint=_features_hint(signature),
            position=stars[0].start + 1,
        )
    inputs = tuple(bound.get(index) for index in range(len(places)))
    return Binding(inputs, _class_index(class_argument, signature))


def star_key(star: Argument) -> str:
    """Name a star by its text, comments and spaces around the dot left out."""
    return "".join(star.text.split())


def _features_hint(signature: ModelSignature) -> str:
    return f"Its features are: {', '.join(feature.name for feature in signature.features)}."


def _bind_named(
    argument: Argument,
    places: Mapping[str, int],
    bound: dict[int, Input],
    signature: ModelSignature,
) -> None:
    if argument.name not in places:
        raise UndefinedFunctionError(
            f'model "{signature.name}" has no feature "{argument.name}"',
            hint=_features_hint(signature),
            position=argument.start + 1,
        )
    _bind_once(argument, places[argument.name], bound)


def _bind_once(argument: Argument, place: int, bound: dict[int, Input]) -> None:
    if place in bound:
        raise ModelSyntaxError(
            f'feature "{argument.name}" is given twice', position=argument.start + 1
        )
    bound[place] = Input(argument.text, argument)


def _bind_star(
    star: Argument,
    places: Mapping[str, int],
    bound: dict[int, Input],
    star_columns: Mapping[str, tuple[str, ...]],
) -> None:
    names = star_columns[star_key(star)]
    for name in names:
        place = places.get(name)
        if place is None or (place in bound and bound[place].argument.kind != star.kind):
            continue
        if names.count(name) > 1 or place in bound:
            raise ProxyError(
                f'column reference "{name}" is ambiguous',
                detail="More than one of the star's columns has this name.",
                position=star.start + 1,
                sqlstate="42702",
            )
        bound[place] = Input(star.qualifier + quote_identifier(name), star)


def _bind_positional(
    positional: list[tuple[int, Argument]],
    bound: dict[int, Input],
    signature: ModelSignature,
    *,
    by_index: bool,
) -> None:
    count = len(signature.features)
    late = []
    for order, argument in positional:
        if by_index and order < count and order not in bound:
            bound[order] = Input(argument.text, argument)
        else:
            late.append(argument)
    free = iter([place for place in range(count) if place not in bound])
    for argument in late:
        place = next(free, None)
        if place is None:
            raise UndefinedFunctionError(
                f'too many arguments for model "{signature.name}"',
                detail=f"The model has {count} features.",
                hint=_features_hint(signature),
                position=argument.start + 1,
            )
        bound[place] = Input(argument.text, argument)


def _class_index(argument: Argument | None, signature: ModelSignature) -> int | None:
    if argument is None:
        # Two classes: the probability of the positive one, as PREDICT says it.
        return 1 if len(signature.classes) == 2 else None
    if argument.string is None:
        raise UnsupportedError("the class must be a string constant", position=argument.start + 1)
    if argument.string not in signature.classes:
        raise InvalidParameterError(
            f'model "{signature.name}" has no class "{argument.string}"',
            hint=f"Its classes are: {', '.join(signature.classes)}.",
            position=argument.start + 1,
        )
    return signature.classes.index(argument.string)
