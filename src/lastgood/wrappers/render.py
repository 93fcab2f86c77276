"""Intermediate representation -> the text of a wrapper: typed, formatted, and the same on every run and machine.

Whatever the user's names are, they keep their meaning: a name of lastgood or of the standard library that one of them would
hide is imported under another one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from lastgood.wrappers.ir import ANY, Class, Default, Function, Kind, Module, Parameter, Ref, Signature, Type
from lastgood.wrappers.layout import Brackets, lay_out

__all__ = ["render", "render_package"]

_BRIDGE = Ref("lastgood.runtime", "get_runtime_bridge")
_DICT = Type(Ref("builtins", "dict"), (Type(Ref("builtins", "str")), ANY))
_TUPLE = Type(Ref("builtins", "tuple"), (ANY, Type("...")))
_STRS = Type(Ref("builtins", "list"), (Type(Ref("builtins", "str")),))
_NAMED = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)
_INDENT = "    "


def render(module: Module) -> str:
    """The body of the wrapper of ``module``, without its header."""
    names = _Names(_taken(module.members))
    definitions: list[str] = []
    for member in module.members:
        definitions += ["", "", *_member(member, "", module.name, member.name, names)]
    exports = sorted(member.name for member in module.members)
    listing = Brackets("[", [_quoted(name) for name in exports], "]")
    declared = "" if exports else f": {names.spell(_STRS)}"
    lines = _docstring(module.doc or f"Calls {module.name} through the live bridge.", "")
    lines += ["", "from __future__ import annotations" + (" as _annotations" if "annotations" in names.taken else "")]
    constants = ["", *lay_out(listing, "", before=f"__all__{declared} = ")]
    if names.unset:
        constants += ["", f"# Stands for an argument that is not given: {module.name} has its own default for it."]
        constants += [f"{names.unset}: {names.spell(ANY)} = ..."]
    lines += names.imports()
    return "\n".join([*lines, *constants, *definitions]) + "\n"


def render_package(name: str) -> str:
    """The body of an ``__init__`` that is there for the wrappers beneath it alone; ``name`` is ``""`` at the top."""
    return (
        f'"""Wrappers of what lies in {name}."""\n'
        if name
        else '"""Wrappers: each calls its source through the live bridge."""\n'
    )


class _Names:
    """How the names that a wrapper needs are spelt in it, next to the user's own, which are ``taken``."""

    def __init__(self, taken: AbstractSet[str]) -> None:
        self.taken = taken
        self.unset = ""
        self._spelt: dict[Ref, str] = {}

    def use(self, ref: Ref) -> str:
        if ref not in self._spelt:
            self._spelt[ref] = free(ref.name, self.taken | set(self._spelt.values()))
        return self._spelt[ref]

    def use_unset(self) -> str:
        self.unset = self.unset or free("_unset", self.taken)
        return self.unset

    def spell(self, type_: Type) -> str:
        if type_.head == "|":
            return " | ".join(map(self.spell, type_.args))
        head = type_.head if isinstance(type_.head, str) else self.use(type_.head)
        return f"{head}[{', '.join(map(self.spell, type_.args))}]" if type_.args else head

    def imports(self) -> list[str]:
        """The import statements for whatever was used, the standard library's first."""
        blocks: list[str] = []
        for ours in (False, True):
            modules: dict[str, list[str]] = {}
            renamed: list[tuple[str, str]] = []
            for ref, name in sorted(self._spelt.items(), key=lambda used: (used[0].module, used[0].name)):
                if ref.module.startswith("lastgood") is not ours:
                    continue
                if name != ref.name:
                    renamed.append((ref.module, f"{ref.name} as {name}"))
                elif ref.module != "builtins":
                    modules.setdefault(ref.module, []).append(name)
            statements = [(module, ", ".join(each)) for module, each in modules.items()] + renamed
            if statements:
                blocks += ["", *(f"from {module} import {each}" for module, each in sorted(statements))]
        return blocks


def free(name: str, taken: AbstractSet[str]) -> str:
    """``name``, or what it becomes with underscores, if ``taken``. Never with two in front, which a class would mangle."""
    while name in taken:
        name = f"{name}_" if name.startswith("_") else f"_{name}"
    return name


def _taken(members: Sequence[Function | Class]) -> frozenset[str]:
    """Every name of the user's in a wrapper: of functions, classes and parameters, at any depth."""
    names: set[str] = set()
    for member in members:
        names.add(member.name)
        if isinstance(member, Class):
            names |= _taken(member.members)
        else:
            for signature in (member.signature, *member.overloads):
                names.update(parameter.name for parameter in signature.parameters)
    return frozenset(names)


def _member(member: Function | Class, indent: str, module: str, path: str, names: _Names) -> Iterator[str]:
    if isinstance(member, Class):
        yield f"{indent}class {member.name}:"
        inner = indent + _INDENT
        if member.doc:
            yield from _docstring(member.doc, inner)
        for place, child in enumerate(member.members):
            if place or member.doc:
                yield ""
            yield from _member(child, inner, module, f"{path}.{child.name}", names)
        return
    decorators = [f"{indent}@{names.use(Ref('builtins', 'staticmethod'))}"] if "." in path else []
    for overload in member.overloads:
        yield f"{indent}@{names.use(Ref('typing', 'overload'))}"
        yield from decorators
        yield from _head(member.name, overload, indent, names, is_overload=True)
        yield from [""] if indent else ["", ""]
    signature = member.signature
    if member.overloads:
        # Type checkers show the overloads alone; the implementation only has to take them all.
        parameters = tuple(Parameter(p.name, p.kind, ANY, p.default) for p in signature.parameters)
        signature = Signature(parameters)
    yield from decorators
    yield from _head(member.name, signature, indent, names, is_overload=False)
    inner = indent + _INDENT
    if member.doc:
        yield from _docstring(member.doc, inner)
    yield from _call(signature, inner, module, path, names)


def _head(name: str, signature: Signature, indent: str, names: _Names, is_overload: bool) -> list[str]:
    parts: list[str] = []
    kinds = [parameter.kind for parameter in signature.parameters]
    for place, parameter in enumerate(signature.parameters):
        before = kinds[:place]
        if parameter.kind is Kind.KEYWORD_ONLY and not {Kind.VAR_POSITIONAL, Kind.KEYWORD_ONLY} & set(before):
            parts.append("*")
        stars = {Kind.VAR_POSITIONAL: "*", Kind.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = parameter.default
        if default is Default.LEFT:
            default = "..." if is_overload else names.use_unset()
        given = f" = {default}" if isinstance(default, str) else ""
        parts.append(f"{stars}{parameter.name}: {names.spell(parameter.type)}{given}")
        if parameter.kind is Kind.POSITIONAL_ONLY and kinds[place + 1 : place + 2] != [Kind.POSITIONAL_ONLY]:
            parts.append("/")
    brackets = Brackets(f"async def {name}(", parts, ")", hugs=True)
    return lay_out(brackets, indent, after=f" -> {names.spell(signature.returns)}:{' ...' if is_overload else ''}")


def _call(signature: Signature, indent: str, module: str, path: str, names: _Names) -> list[str]:
    """The body: the arguments as the source is to get them, the call, and the result in its type."""
    own = {parameter.name for parameter in signature.parameters}
    owner = path.rpartition(".")[0].rpartition(".")[2]
    lines, args, kwargs = _arguments(signature.parameters, indent, owner, names)
    call = Brackets(f"{names.use(_BRIDGE)}().call(", [_quoted(module), _quoted(path), args, kwargs], ")", hugs=True)
    returns = signature.returns
    if returns == Type("None"):
        return [*lines, *lay_out(call, indent, before="await ")]
    if returns == ANY:
        return [*lines, *lay_out(call, indent, before="return await ")]
    result = free("result", own)
    lines += lay_out(call, indent, before=f"{result}: {names.spell(returns)} = await ")
    return [*lines, f"{indent}return {result}"]


def _arguments(
    parameters: Sequence[Parameter], indent: str, owner: str, names: _Names
) -> tuple[list[str], str | Brackets, str | Brackets]:
    """Statements that gather the arguments, and the expressions for the positional and the named ones.

    Arguments go by position up to the first whose default is left to the source. From there on one may be missing, so
    that those with a name go by name. Those without one cannot be given unless the ones before them are.
    """
    own = {parameter.name for parameter in parameters}
    positional = [p for p in parameters if p.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)]
    first_left = next((place for place, p in enumerate(positional) if p.default is Default.LEFT), len(positional))
    sure, unsure = positional[:first_left], positional[first_left:]
    rest = next((p.name for p in parameters if p.kind is Kind.VAR_POSITIONAL), None)
    extra = next((p.name for p in parameters if p.kind is Kind.VAR_KEYWORD), None)
    keyword_only = [p for p in parameters if p.kind is Kind.KEYWORD_ONLY]
    by_name = [p for p in unsure if p.kind is Kind.POSITIONAL_OR_KEYWORD]
    always_by_name = [p for p in (by_name if rest is None else []) + keyword_only if p.default is not Default.LEFT]

    args = _positional([p.name for p in sure] + ([f"*{rest}"] if rest is not None and not unsure else []))
    kwargs = _mapping(always_by_name, extra, owner)
    lines: list[str] = []
    named, given = free("named", own), free("positional", own)
    if any(p not in always_by_name for p in by_name + keyword_only):
        lines += lay_out(kwargs, indent, before=f"{named}: {names.spell(_DICT)} = ")
        kwargs = named
    if unsure and (rest is not None or unsure[0].kind is Kind.POSITIONAL_ONLY):
        lines += lay_out(args, indent, before=f"{given}: {names.spell(_TUPLE)} = ")
        args = given
    block = indent
    if rest is not None and unsure:
        everything = Brackets("(", [*(p.name for p in unsure), f"*{rest}"], ")")
        block = indent + _INDENT
        lines += [f"{indent}if {rest}:", *lay_out(everything, block, before=f"{given} += "), f"{indent}else:"]
    lines += _given_in_order([p for p in unsure if p.kind is Kind.POSITIONAL_ONLY], given, block, names)
    lines += _given_by_name([p for p in by_name if p not in always_by_name], named, owner, block, names)
    lines += _given_by_name([p for p in keyword_only if p not in always_by_name], named, owner, indent, names)
    return lines, args, kwargs


def _positional(items: list[str]) -> str | Brackets:
    alone = len(items) == 1 and items[0].startswith("*")
    return items[0][1:] if alone else Brackets("(", items, ")")


def _mapping(parameters: Sequence[Parameter], extra: str | None, owner: str) -> str | Brackets:
    if extra is not None and not parameters:
        return extra
    items = [f"{_quoted(_mangled(p.name, owner))}: {p.name}" for p in parameters]
    return Brackets("{", items + ([f"**{extra}"] if extra is not None else []), "}")


def _given_by_name(
    parameters: Sequence[Parameter], named: str, owner: str, indent: str, names: _Names
) -> Iterator[str]:
    """Statements that put into the dict ``named`` each of the parameters that is given."""
    for parameter in parameters:
        put = f"{named}[{_quoted(_mangled(parameter.name, owner))}] = {parameter.name}"
        if parameter.default is Default.LEFT:
            yield f"{indent}if {parameter.name} is not {names.use_unset()}:"
            yield f"{indent}{_INDENT}{put}"
        else:
            yield f"{indent}{put}"


def _given_in_order(parameters: Sequence[Parameter], given: str, indent: str, names: _Names) -> Iterator[str]:
    """Statements that append to the tuple ``given`` the positional-only parameters that are given.

    One that follows a parameter that may be missing goes with it: without the one before, it cannot have been given.
    """
    groups: list[list[str]] = []
    for parameter in parameters:
        if parameter.default is Default.LEFT:
            groups.append([])
        groups[-1].append(parameter.name)
    for group in groups:
        yield f"{indent}if {group[0]} is not {names.use_unset()}:"
        yield from lay_out(Brackets("(", group, ")"), indent + _INDENT, before=f"{given} += ")


def _mangled(name: str, owner: str) -> str:
    """The name that a parameter of a method really has: inside a class, Python renames ``__x``."""
    private = owner and name.startswith("__") and not name.endswith("__")
    return f"_{owner.lstrip('_')}{name}" if private else name


def _quoted(text: str) -> str:
    return f'"{text}"'


def _docstring(doc: str, indent: str) -> list[str]:
    """The lines of a docstring that says exactly ``doc``, blanks at the ends of its lines apart."""
    lines = [line.rstrip() for line in doc.split("\n")]
    text = "\n".join(lines)
    quoted = '"""' in text or text.startswith('"') or text.endswith('"')
    raw = "\\" in text and not quoted and not text.endswith("\\") and all(map(_is_shown, text.replace("\n", "")))
    if not raw:
        lines = [_escaped(line, quoted) for line in lines]
    opening = 'r"""' if raw else '"""'
    body = [f"{indent}{opening}{lines[0]}", *(f"{indent}{line}" if line else "" for line in lines[1:])]
    return [*body, f'{indent}"""'] if len(body) > 1 else [f'{body[0]}"""']


def _escaped(line: str, quoted: bool) -> str:
    text = line.replace("\\", "\\\\")
    if quoted:
        text = text.replace('"', '\\"')
    return "".join(char if _is_shown(char) else char.encode("unicode_escape").decode() for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"
