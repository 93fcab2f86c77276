"""Making instances of classes of every kind: by their constructors, or as they were, without these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MemberDescriptorType

from . import rich
from .known import SOURCE_DEFAULT
from .values import listed

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ATTRIBUTES",
    "EXTRA",
    "PARAMETRISED",
    "PRIVATE",
    "RESTORED",
    "SET",
    "Unmakable",
    "bare",
    "built",
    "forget_classes",
    "generic_of",
    "has_plain_fields",
    "is_neutral",
    "left_to_source",
    "member_of",
    "named",
    "parametrised",
    "restored",
    "set_attributes",
    "set_later",
]

RESTORED, ATTRIBUTES, SET, EXTRA, PRIVATE = "restored", "attributes", "set", "extra", "private"
PARAMETRISED = "parametrised"
"""Keys of what is sent of an instance besides its fields: whether the worker has made it; its further attributes, packed one by
one; and of a pydantic model, the names of the fields that were given, the names of those attributes that are its extra values, its
private attributes, and the name of its class if that is one like ``Page[User]``."""


def generic_of(kind: type) -> type:
    """Return the class ``Page`` of a class ``Page[User]``, which pydantic makes; any other class unchanged."""
    origin = vars(kind).get("__pydantic_generic_metadata__", {}).get("origin")
    return origin if isinstance(origin, type) else kind


def parametrised(kind: type, name: str | None) -> type:
    """Return the class ``name`` that pydantic has made of the generic class ``kind``; if it is gone, ``kind`` itself."""
    made: Sequence[type] = type.__subclasses__(kind) if name is not None else ()
    return next((each for each in made if each.__name__ == name and generic_of(each) is kind), kind)


@lru_cache(maxsize=1024)
def is_neutral(kind: Any) -> bool:
    """Return whether the constructor of a class does nothing but set its fields."""
    if hasattr(kind, "__struct_fields__"):
        return not hasattr(kind, "__post_init__")
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__post_init__"):
        return False
    maker = next((each for each in kind.__mro__ if "__init__" in vars(each)), object)
    made = vars(maker).get("__dataclass_params__")
    return (
        made is not None
        and made.init
        and _is_generated(vars(maker)["__init__"])
        and kind.__new__ is object.__new__
        and (parameters.frozen or kind.__setattr__ is object.__setattr__)
        and all(field.init and not _is_argument(field) for field in kind.__dataclass_fields__.values())
    )


def _is_generated(function: Any) -> bool:
    """Return whether ``@dataclass`` has made a method, which it does from text. A method that the class has itself stays."""
    return getattr(getattr(function, "__code__", None), "co_filename", None) == "<string>"


def _is_argument(field: Any) -> bool:
    """Return whether this is an ``InitVar``: an argument of the constructor, which an instance does not keep."""
    return getattr(getattr(field, "_field_type", None), "name", None) == "_FIELD_INITVAR"


@lru_cache(maxsize=1024)
def set_later(kind: Any) -> Mapping[str, Any]:
    """Return the fields that the constructor of a dataclass does not take, with their defaults."""
    fields = getattr(kind, "__dataclass_fields__", {}).values()
    return {field.name: field.default for field in fields if not field.init}


@lru_cache(maxsize=1024)
def left_to_source(kind: Any) -> frozenset[str]:
    """Return the fields of a class that a wrapper declares whose defaults only the source can tell."""
    fields = getattr(kind, "__dataclass_fields__", {}).values()
    defaults = getattr(kind, "_field_defaults", None) or {field.name: field.default for field in fields}
    return frozenset(name for name, default in defaults.items() if default is SOURCE_DEFAULT)


@lru_cache(maxsize=1024)
def has_plain_fields(kind: Any) -> bool:
    """Return whether an instance is nothing but the fields in its ``__dict__``, and its constructor sets nothing else."""
    return (
        hasattr(kind, "__dataclass_fields__") and is_neutral(kind) and not _slots_of(kind) and kind.__dictoffset__ != 0
    )


def forget_classes() -> None:
    """Forget what is remembered of classes: one of them has changed."""
    for each in (is_neutral, set_later, left_to_source, has_plain_fields, _slots_of, _arguments_alone):
        each.cache_clear()
    rich.field_names.cache_clear()


class Unmakable(Exception):
    """An instance cannot be made of what was sent. The text says why."""


def named(fields: Sequence[str], items: Any) -> Any:
    """Return the fields of an instance by name. ``items``: all of them in order, or those that there are by name."""
    return items if isinstance(items, dict) else dict(zip(fields, items))


def member_of(kind: Any, members: Mapping[Any, Any], name: str | None, value: Any) -> Any:
    """Return the member of this name, else that of this value. Raise :class:`Unmakable` if there is neither."""
    member = members.get(name)
    if member is not None:
        return member
    try:
        return kind(value)  # a combination of flags, or a name that only the other side knows
    except (ValueError, TypeError, KeyError):
        raise Unmakable(f"{kind.__qualname__} has no member {name or repr(value)}") from None


def bare(kind: Any) -> Any:
    """Return an instance of a class without any attribute."""
    try:
        return object.__new__(kind)
    except TypeError:  # it derives from a builtin class
        return kind.__new__(kind)


@lru_cache(maxsize=1024)
def _slots_of(kind: Any) -> frozenset[str]:
    members = (
        name for each in kind.__mro__ for name, value in vars(each).items() if isinstance(value, MemberDescriptorType)
    )
    return frozenset(members)


def set_attributes(instance: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an instance, and run no code of its class."""
    kind: Any = type(instance)
    slots = _slots_of(kind)
    own = getattr(instance, "__dict__", None)
    if own is not None and slots.isdisjoint(values):
        own.update(values)
        return
    for name, value in values.items():
        if own is None or name in slots:
            object.__setattr__(instance, name, value)
        else:
            own[name] = value


def restored(kind: Any, fields: Mapping[str, Any], attributes: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """Return the instance with these fields that the worker had made, without running its constructor."""
    if hasattr(kind, "__struct_fields__"):
        return _restored_struct(kind, fields)
    instance = bare(kind)
    is_model = not hasattr(kind, "__dataclass_fields__")
    if not is_model or not (
        hasattr(kind, "__pydantic_fields__") or isinstance(getattr(kind, "__fields__", None), dict)
    ):
        unset = () if is_model else _arguments_alone(kind)
        set_attributes(instance, {**{name: item for name, item in fields.items() if name not in unset}, **attributes})
        return instance
    names = state.get(EXTRA, ())
    if not hasattr(kind, "__pydantic_fields__"):  # version 1
        object.__setattr__(instance, "__dict__", {**fields, **attributes})
        object.__setattr__(instance, "__fields_set__", set(listed(state.get(SET, []))))
        instance._init_private_attributes()
        return instance
    extra = {name: attributes[name] for name in names if name in attributes}
    own = {name: item for name, item in attributes.items() if name not in names}
    object.__setattr__(instance, "__dict__", {**fields, **own})
    object.__setattr__(instance, "__pydantic_fields_set__", set(listed(state.get(SET, []))))
    if _is_root_model(kind):
        if state.get(PRIVATE) is not None:
            object.__setattr__(instance, "__pydantic_private__", state[PRIVATE])
        return instance
    allows = kind.model_config.get("extra") == "allow"
    object.__setattr__(instance, "__pydantic_extra__", extra if allows else None)
    object.__setattr__(instance, "__pydantic_private__", state.get(PRIVATE))
    return instance


@lru_cache(maxsize=1024)
def _arguments_alone(kind: Any) -> frozenset[str]:
    """Return the arguments of a dataclass's constructor that are no fields (``InitVar``): the app's instances may have them."""
    return frozenset(kind.__dataclass_fields__).difference(rich.field_names(kind) or ())


def _restored_struct(kind: Any, fields: Mapping[str, Any]) -> Any:
    if is_neutral(kind):
        return kind(**fields)
    instance = _quiet_struct(kind)(**fields)
    instance.__class__ = kind
    return instance


@lru_cache(maxsize=256)
def _quiet_struct(kind: Any) -> Any:
    """Return a class like ``kind``, an msgspec.Struct, whose ``__post_init__`` does nothing. A Struct has no bare instances."""
    return type(kind)(kind.__name__, (kind,), {"__post_init__": lambda _: None, "__module__": kind.__module__})


def built(cls: Any, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """Return an instance that its own constructor makes of these fields, as its library (dataclasses, attrs, ...) wants them."""
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        fields = cls.__dataclass_fields__.values()
        if not parameters.init and (cls.__init__ is object.__init__ or _is_generated(cls.__init__)):
            instance = bare(cls)
            set_attributes(instance, {**values, **attributes})
            return instance
        inits = {field.name: field.name for field in fields if field.init}
        names = {field.name for field in fields}
    elif hasattr(cls, "__attrs_attrs__"):
        made = [each for each in cls.__attrs_attrs__ if each.init]
        inits = {each.name: getattr(each, "alias", None) or each.name.lstrip("_") for each in made}
        names = {each.name for each in cls.__attrs_attrs__}
    elif hasattr(cls, "__struct_fields__"):
        return cls(**values)
    else:
        return _built_pydantic(cls, {**values, **attributes})
    later = names - inits.keys()
    # The constructor must reject fields that the class no longer has, so these are passed on.
    instance = cls(**{inits.get(name, name): value for name, value in values.items() if name not in later})
    for name in values.keys() & later:
        object.__setattr__(instance, name, values[name])
    set_attributes(instance, attributes)
    return instance


def _built_pydantic(cls: Any, values: Mapping[str, Any]) -> Any:
    """Return an instance of a pydantic model, whose constructor takes aliases."""
    fields = getattr(cls, "__pydantic_fields__", None)
    if _is_root_model(cls):
        return cls(**values)
    if fields is None:  # version 1
        known = cls.__fields__
        return cls(**{known[name].alias if name in known else name: value for name, value in values.items()})
    given = {}
    for name, value in values.items():
        field = fields.get(name)
        if field is not None and _is_default(field, value):
            continue  # the app's instance does not know which fields were given; exclude_unset leaves these out
        alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
        given[alias if isinstance(alias, str) else name] = value
    return cls.model_validate(given)


def _is_root_model(kind: Any) -> bool:
    """Return whether this is a ``RootModel`` of pydantic, whose instances have one value and nothing else."""
    return getattr(kind, "__pydantic_root_model__", False) is True


def _is_default(field: Any, value: Any) -> bool:
    default = field.default
    return type(default) is type(value) and bool(default == value)
