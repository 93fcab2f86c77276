"""The shape of a function while its decorators are applied: its parameters, and what calls of it give."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from lastgood.wrappers.ir import ANY, Default, Kind, Parameter, Type

__all__ = ["Function", "Outcome", "Shape", "is_possible"]


class Outcome(Struct, frozen=True):
    """What calls give: a value of ``type``, a stream of items of that type, or a coroutine that returns a value of it.

    ``texts`` are warnings about parts of its annotation that became ``Any``.
    """

    type: Type = ANY
    streams: bool = False
    is_async: bool = False
    texts: tuple[str, ...] = ()
    is_said: bool = True
    """False if only the form of the outcome is known, and ``type`` is ``Any`` for want of another."""

    @property
    def is_plain(self) -> bool:
        """True for a value, which may be part of another one."""
        return not (self.streams or self.is_async)


class Shape(Struct, frozen=True):
    """The parameters of a function, and the outcome of calls. In what a decorator makes, None is what it does not say."""

    parameters: tuple[Parameter, ...] | None = None
    outcome: Outcome | None = None

    def checked(self) -> Shape:
        """Return this shape, without parameters that no function can have."""
        return self if self.parameters is None or is_possible(self.parameters) else Shape(None, self.outcome)

    def filled(self, other: Shape | None) -> Shape:
        """Return this shape with what ``other`` says in place of what this one does not say."""
        if other is None:
            return self
        parameters = other.parameters if self.parameters is None else self.parameters
        return Shape(parameters, other.outcome if self.outcome is None else self.outcome)


class Function(Struct, frozen=True):
    """A function of which everything is known, though some of it as ``Any``."""

    parameters: tuple[Parameter, ...]
    outcome: Outcome

    def become(self, made: Shape) -> Function:
        """Return the function that a decorator ``made`` of this one. What it does not say has ``Any`` for its types."""
        parameters, outcome = made.parameters, made.outcome
        if parameters is None:
            parameters = tuple(replace(each, type=ANY) for each in self.parameters)
        outcome = replace(self.outcome, type=ANY, texts=()) if outcome is None else outcome
        return Function(parameters, replace(outcome, is_said=True))


_KINDS = {
    Kind.POSITIONAL_ONLY: inspect.Parameter.POSITIONAL_ONLY,
    Kind.POSITIONAL_OR_KEYWORD: inspect.Parameter.POSITIONAL_OR_KEYWORD,
    Kind.VAR_POSITIONAL: inspect.Parameter.VAR_POSITIONAL,
    Kind.KEYWORD_ONLY: inspect.Parameter.KEYWORD_ONLY,
    Kind.VAR_KEYWORD: inspect.Parameter.VAR_KEYWORD,
}


def is_possible(parameters: Sequence[Parameter]) -> bool:
    """Return whether a function can have these parameters: each name once, and none without a default after one with it."""
    try:
        inspect.Signature(
            [
                inspect.Parameter(
                    each.name,
                    _KINDS[each.kind],
                    default=inspect.Parameter.empty if each.default is Default.REQUIRED else None,
                )
                for each in parameters
            ]
        )
    except ValueError:
        return False
    return True
