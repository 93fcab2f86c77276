"""Stories of a source module, drawn by hypothesis: a version, edits of it, and calls.

An edit is a mutation of the version before it, so that the two have most in common. What no longer fits after it is drawn anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Any, TypeAlias

from hypothesis import strategies as st

from versions import (
    CLASSES,
    CONSTANTS,
    ENUMS,
    FIELDS,
    FUNCTIONS,
    HOWS,
    INT,
    MEMBERS,
    PARAMETERS,
    Declared,
    Field,
    Function,
    Kind,
    Version,
    bodies,
    can_default,
    class_fields,
    classes,
    constants,
    defaults,
    functions,
    kinds,
    members,
    parameter,
    values,
    within,
)

__all__ = ["Call", "Step", "Story", "stories"]


@st.composite
def versions(draw: st.DrawFn) -> Version:
    version = Version(is_lazy=draw(st.booleans()))
    chosen = draw(st.lists(st.sampled_from(CLASSES), max_size=4, unique=True))
    for name in sorted(chosen, key=CLASSES.index):
        version = replace(version, classes=(*version.classes, classes(draw, version, name)))
        version = repaired(draw, version, version)
    names = draw(st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=3, unique=True))
    version = replace(version, functions=tuple(functions(draw, version, name) for name in names))
    named = draw(st.lists(st.sampled_from(CONSTANTS), unique=True))
    version = replace(version, constants=tuple((name, constants(draw)) for name in named))
    return repaired(draw, version, version)


# --- repairing what an edit has left


def _is_still(value: str, first: Version, second: Version) -> bool:
    """Whether an expression that was drawn for ``first`` is one of ``second`` in the same sense."""
    named = [name for name in CLASSES if re.search(rf"\b{re.escape(name)}\b", value)]
    named += [each.base for name in named if (each := second.find(name)) is not None and each.base]
    return all(first.find(name) == second.find(name) is not None for name in named)


def repaired(draw: st.DrawFn, first: Version, version: Version) -> Version:
    """``version`` as valid Python: what does not fit any more is drawn anew, parameters and fields stand in a possible order."""
    made = replace(version, classes=(), functions=())
    for declared in sorted(version.classes, key=lambda each: CLASSES.index(each.name)):
        made = replace(made, classes=(*made.classes, _repaired_class(draw, first, made, declared)))
    for function in version.functions:
        made = replace(made, functions=(*made.functions, _repaired_function(draw, first, made, function)))
    return made


def _repaired_class(draw: st.DrawFn, first: Version, version: Version, declared: Declared) -> Declared:
    if declared.form == "StrEnum" or declared.form == "Flag":
        redone = tuple((name, members(draw, declared.form, name)) for name, _ in declared.members)
        return replace(declared, members=redone)
    own = []
    for each in declared.fields:
        kind = _repaired_kind(version, each.kind)
        default = each.default
        if default is not None and (kind != each.kind or not _is_still(default, first, version)):
            default = values(draw, version, kind, declared.name)
        if default is not None and not can_default(version, declared.name, kind, default):
            default = None
        own.append(Field(each.name, kind, default))
    own.sort(key=lambda each: each.default is not None)
    options, base = declared.options, version.find(declared.base)
    if base is not None:
        options = options - {"frozen"} | (base.options & {"frozen"})
        inherited = version.fields(base)
        if any(each.default is not None for each in inherited.values()) or inherited.keys() & {
            each.name for each in own
        }:
            options |= {"kw_only"}
    return replace(declared, fields=tuple(own), options=options, base="" if base is None else declared.base)


def _repaired_kind(version: Version, kind: Kind) -> Kind:
    if any(version.find(name) is None for name in kind.classes()):
        return INT
    keys = kind.of[:1] if kind.text in ("set[{}]", "frozenset[{}]", "dict[{}, {}]") else ()
    return kind if all(map(version.is_hashable, keys)) else INT


def _repaired_function(draw: st.DrawFn, first: Version, version: Version, function: Function) -> Function:
    made: list[Field] = []
    for each in function.parameters:
        kind, default = _repaired_kind(version, each.kind), each.default
        if default is not None and (kind != each.kind or not _is_still(default, first, version)):
            default = values(draw, version, kind, within(function.name))
        if not (each.how in ("*args", "**") and any(each.how == other.how for other in made)):
            made.append(Field(each.name, kind, default, each.how))
    made.sort(key=lambda each: (HOWS.index(each.how), each.how in ("/", "") and each.default is not None))
    positional = [each for each in made if each.how in ("/", "")]
    had_default = False
    for each in positional:
        had_default |= each.default is not None
        if had_default and each.default is None:  # after one by position alone that has a default
            made[made.index(each)] = replace(each, default=values(draw, version, each.kind, within(function.name)))
    result, gives = function.result, function.gives
    if result is not None:
        result = _repaired_kind(version, result)
    if (
        gives is not None
        and "raise" not in gives
        and not (result == function.result and _is_still(gives, first, version))
    ):
        result = INT if result is None else result
        gives = values(draw, version, result)
    return replace(function, parameters=tuple(made), result=result, gives=gives)


# --- edits

Edit: TypeAlias = Callable[[st.DrawFn, Version], Version]


def _changed(items: tuple[Any, ...], place: int, *new: Any) -> tuple[Any, ...]:
    return (*items[:place], *new, *items[place + 1 :])


def edit_parameters(draw: st.DrawFn, version: Version) -> Version:
    """Add a parameter somewhere, remove one, rename it, give it another kind, type or default, or another place."""
    if not version.functions:
        return version
    at = draw(st.integers(0, len(version.functions) - 1))
    function = version.functions[at]
    parameters = function.parameters
    place = draw(st.integers(0, len(parameters)))
    unused = [name for name in PARAMETERS if name not in {each.name for each in parameters}]
    if place == len(parameters) or draw(st.integers(0, 5)) == 0:
        new = [parameter(draw, version, function.name, name) for name in unused[:1]]
        parameters = (*parameters[:place], *new, *parameters[place:])
    else:
        old = parameters[place]
        match draw(st.sampled_from(["remove", "rename", "how", "type", "default", "swap"])):
            case "remove":
                parameters = _changed(parameters, place)
            case "rename" if unused:
                parameters = _changed(parameters, place, replace(old, name=unused[0]))
            case "how":
                how = draw(st.sampled_from(["/", "", "*"]))
                parameters = _changed(parameters, place, replace(old, how=how))
            case "type":
                parameters = _changed(parameters, place, parameter(draw, version, function.name, old.name))
            case "default" if old.how not in ("*args", "**"):
                parameters = _changed(
                    parameters, place, replace(old, default=values(draw, version, old.kind, within(function.name)))
                )
            case "swap":
                parameters = (old, *_changed(parameters, place))
    changed = replace(function, parameters=parameters)
    return replace(version, functions=_changed(version.functions, at, changed))


def edit_function(draw: st.DrawFn, version: Version) -> Version:
    """Add a function, remove one, give it another body and result, make it async or a class method."""
    at = draw(st.integers(0, len(version.functions)))
    if at == len(version.functions):
        present = {each.name for each in version.functions}
        unused = [name for name in FUNCTIONS if name not in present]
        more = [functions(draw, version, name) for name in unused[:1]]
        return replace(version, functions=(*version.functions, *more))
    function = version.functions[at]
    new: tuple[Function, ...] = ()
    match draw(st.sampled_from(["body", "async", "class", "remove", "new"])):
        case "body":
            new = (bodies(draw, version, function),)
        case "async":
            new = (replace(function, is_async=not function.is_async),)
        case "class":
            new = (replace(function, is_class_method=not function.is_class_method),)
        case "new":
            new = (functions(draw, version, function.name),)
    return replace(version, functions=_changed(version.functions, at, *new))


def edit_fields(draw: st.DrawFn, version: Version) -> Version:
    """Add a field somewhere, remove one, or give it another type, default or place."""
    places = [place for place, each in enumerate(version.classes) if each.form not in ENUMS]
    if not places:
        return edit_parameters(draw, version)
    at = draw(st.sampled_from(places))
    declared = version.classes[at]
    own = declared.fields
    place = draw(st.integers(0, len(own)))
    unused = [name for name in FIELDS if name not in {each.name for each in own}]
    if place == len(own):
        own = (*own, *(class_fields(draw, version, declared.name, name) for name in unused[:1]))
    else:
        match draw(st.sampled_from(["remove", "type", "default", "first", "before"])):
            case "remove" if len(own) > 1:
                own = _changed(own, place)
            case "type":
                own = _changed(own, place, class_fields(draw, version, declared.name, own[place].name))
            case "default":
                default = defaults(draw, version, declared.name, own[place].kind)
                own = _changed(own, place, replace(own[place], default=default))
            case "first":
                own = (own[place], *_changed(own, place))
            case "before":
                new = [class_fields(draw, version, declared.name, name) for name in unused[:1]]
                own = (*own[:place], *new, *own[place:])
    return replace(version, classes=_changed(version.classes, at, replace(declared, fields=own)))


def edit_class(draw: st.DrawFn, version: Version) -> Version:
    """Add a class, remove one, or make it frozen, with slots, derived or not."""
    at = draw(st.integers(0, len(version.classes)))
    if at == len(version.classes):
        unused = [name for name in CLASSES if version.find(name) is None]
        name = draw(st.sampled_from(unused or CLASSES))
        return replace(version, classes=(*version.classes, *([classes(draw, version, name)] if unused else [])))
    declared = version.classes[at]
    new: tuple[Declared, ...] = ()
    match draw(st.sampled_from(["option", "base", "remove", "new"])):
        case "option" if declared.form == "dataclass":
            option = draw(st.sampled_from(["frozen", "slots", "kw_only"]))
            new = (replace(declared, options=declared.options ^ {option}),)
        case "base" if declared.name == "Line":
            new = (replace(declared, base="" if declared.base else "Price"),)
        case "new":
            new = (classes(draw, version, declared.name),)
    return replace(version, classes=_changed(version.classes, at, *new))


def edit_members(draw: st.DrawFn, version: Version) -> Version:
    """Add a member of the enum, remove one, or give it another value or place."""
    unit = version.find("Unit")
    if unit is None:
        return edit_fields(draw, version)
    names = draw(st.lists(st.sampled_from(MEMBERS), min_size=1, unique=True))
    form = draw(st.sampled_from([unit.form, unit.form, unit.form, *ENUMS]))
    old = dict(unit.members) if form == unit.form else {}
    chosen = tuple((name, old.get(name) if draw(st.booleans()) else None) for name in names)
    made = tuple((name, members(draw, form, name) if value is None else value) for name, value in chosen)
    at = version.classes.index(unit)
    return replace(version, classes=_changed(version.classes, at, replace(unit, form=form, members=made)))


def edit_constants(draw: st.DrawFn, version: Version) -> Version:
    """Change a constant, remove one or add one."""
    kept = draw(st.lists(st.sampled_from(CONSTANTS), unique=True))
    return replace(version, constants=tuple((name, constants(draw)) for name in kept))


EDITS: tuple[Edit, ...] = (
    edit_parameters,
    edit_parameters,
    edit_function,
    edit_fields,
    edit_fields,
    edit_class,
    edit_members,
    edit_constants,
)


# --- calls


@dataclass(frozen=True)
class Call:
    """A call of ``function``. ``way``: how it is written; ``built``: when and where its arguments are made."""

    function: str
    args: tuple[str, ...] = ()
    kwargs: tuple[tuple[str, str], ...] = ()
    way: str = "module"
    built: str = "after"


WAYS = ("module", "name", "partial", "dict", "decorated")
BUILT = ("after", "after", "before", "returned")


def calls(draw: st.DrawFn, version: Version) -> Call:
    """A call that is right for ``version``, or wrong in one way."""
    way, built = draw(st.sampled_from(WAYS)), draw(st.sampled_from(BUILT))
    if not version.functions or draw(st.integers(0, 4)) == 0:
        value = values(draw, version, kinds(draw, version))
        give, take = (
            Call("give", (repr(value),), (), way),
            Call("take", (value,), (), way, built),
        )
        return draw(st.sampled_from([give, take]))
    function = draw(st.sampled_from(version.functions))
    args: list[str] = []
    kwargs: dict[str, str] = {}
    is_positional = True
    for each in function.parameters:
        if each.default is not None and draw(st.booleans()):
            is_positional = False
            continue
        value = _argument(draw, version, each.kind)
        if each.how == "**":
            kwargs["other"] = value
        elif each.how in ("/", "*args") and is_positional:
            args.append(value)
        elif each.how in ("", "*"):
            is_positional &= each.how == "" and draw(st.booleans())
            if is_positional:
                args.append(value)
            else:
                kwargs[each.name] = value
    match draw(st.sampled_from(["right", "right", "right", "more", "unknown", "missing", "twice"])):
        case "more":
            args.append("1")
        case "unknown":
            kwargs["zz"] = "1"
        case "missing" if args:
            del args[0]
        case "missing" if kwargs:
            del kwargs[next(iter(kwargs))]
        case "twice" if function.parameters:
            kwargs[function.parameters[0].name] = "1"
    return Call(function.name, tuple(args), tuple(kwargs.items()), way, built)


def _argument(draw: st.DrawFn, version: Version, kind: Kind) -> str:
    """A value for a parameter of this type: nobody checks it, so that it may be of another."""
    match draw(st.integers(0, 7)):
        case 6:
            return "{'x': 1}"
        case 7:
            kind = kinds(draw, version)
    return values(draw, version, kind)


# --- stories

FAILURES = ("syntax", "import", "probe")


@dataclass(frozen=True)
class Step:
    """An edit: the cycles that fail before it, and what it leads to."""

    failures: tuple[str, ...]
    version: Version


@dataclass(frozen=True, repr=False)
class Story:
    """A first version, the edits that follow, and calls, each written for one of the versions."""

    first: Version
    steps: tuple[Step, ...]
    calls: tuple[Call, ...]

    def __repr__(self) -> str:
        """The text of the first version, how each edit differs, and the calls."""
        lines = ["Story", *self.first.text(head="").splitlines()]
        before = self.first
        for number, step in enumerate(self.steps, 1):
            lines += [f"--- edit {number}, after failures {step.failures}"]
            old, new = (each.text(head="").splitlines() for each in (before, step.version))
            lines += list(unified_diff(old, new, lineterm="", n=0))[2:]
            before = step.version
        return "\n".join([*lines, "--- calls", *map(repr, self.calls), ""])

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self))  # hypothesis would print the fields instead


@st.composite
def stories(draw: st.DrawFn, max_steps: int = 7) -> Story:
    first = draw(versions())
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, max_steps))):
        before = steps[-1].version if steps else first
        failures = draw(st.sampled_from([*[()] * 5, *((failure,) for failure in FAILURES)]))
        steps.append(Step(failures, draw(edited(first, before))))
    seen = [first, *(step.version for step in steps)]
    made = [calls(draw, draw(st.sampled_from(seen))) for _ in range(draw(st.integers(1, 6)))]
    return Story(first, tuple(steps), tuple(made))


@st.composite
def edited(draw: st.DrawFn, first: Version, version: Version) -> Version:
    """``version`` after up to three edits, or ``first`` again."""
    chosen = draw(st.lists(st.sampled_from(EDITS), min_size=0 if version != first else 1, max_size=3))
    if not chosen:
        return first
    for edit in chosen:
        version = repaired(draw, version, edit(draw, version))
    return version
