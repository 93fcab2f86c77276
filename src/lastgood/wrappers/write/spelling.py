"""The spelling of names in a wrapper, without collisions with the user's names, and the imports for them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from lastgood.wrappers.ir import (
    ANNOTATED,
    Class,
    Constant,
    Declared,
    Expression,
    Function,
    Module,
    Ref,
    Type,
    Variable,
    mentioned,
)
from lastgood.wrappers.types.annotations import literal_text
from lastgood.wrappers.write.import_graph import WrapperImports

__all__ = ["Names", "free", "listed"]

_WIDTH = 88
_REMOTE = Ref("lastgood.runtime", "remote")
_TYPE_VARIABLE = Ref("typing", "TypeVar")


class Names:
    """The names in the wrapper of ``module``. ``taken`` are the user's.

    ``is_package``: the wrapper is the ``__init__`` file of a package. ``is_async``: its functions are to be awaited.
    """

    def __init__(
        self,
        module: Module,
        imports: WrapperImports,
        *,
        is_package: bool,
        is_async: bool = True,
    ) -> None:
        self.is_async = is_async
        self.taken = _taken(module.members) | imports.exports.keys()
        self.pyright: set[str] = set()
        self._private = {member.name for member in module.members if _is_private_class(member)}
        self._module = module.name
        self._package = module.name.split(".") if is_package else module.name.split(".")[:-1]
        self._imports = imports
        self._exported = {declared: alias for alias, declared in imports.exports.items()}
        self._spellings: dict[Ref | Declared | Variable | str, str] = {}
        self._in_use = set(self.taken)
        self._packages: set[str] = set()

    def use(self, ref: Ref) -> str:
        """Return the spelling of a name of the standard library or of lastgood, and import it."""
        return self._name(ref, ref.name)

    def remote(self) -> str:
        """Return the spelling of the decorator ``remote``."""
        return self.use(_REMOTE)

    def declared(self, declared: Declared) -> str:
        """Return the spelling of a type that a wrapper declares."""
        top, dot, rest = declared.name.partition(".")
        if declared.module == self._module:
            self._private.discard(top)
            self._note_private(rest)
            return declared.name
        self._note_private(declared.name)
        if declared.module in self._imports.late:
            return f"{self._name(declared.module, '_' + declared.module.rpartition('.')[2])}.{declared.name}"
        whole = Declared(declared.module, top)
        return (self._exported.get(whole) or self._name(whole, top)) + dot + rest

    def _name(self, key: Ref | Declared | Variable | str, name: str) -> str:
        if key not in self._spellings:
            self._spellings[key] = free(name, self._in_use)
            self._in_use.add(self._spellings[key])
        return self._spellings[key]

    def spell(self, type_: Type, inside: str = "") -> str:
        """Return a type as text, which in the body of the class ``inside`` may be evaluated at once."""
        args = [self.spell(each, inside) for each in type_.args]
        if type_.head == "|":
            return " | ".join(args)
        if type_.head == "=":
            self._note_packages(part.head for part in type_.args)
            return "".join(args)
        if type_.head == ANNOTATED and type_.args[1].args[0] == Type("="):  # an alias: PositiveInt
            return args[1].removeprefix("=")
        head = type_.head if isinstance(type_.head, str) else self._head(type_.head, inside)
        return f"{head}[{', '.join(args)}]" if args else head

    def _head(self, head: Ref | Declared | Variable, inside: str = "") -> str:
        """Return a name as text; that of a class nested in ``inside`` is short, since ``inside`` does not exist yet in its body."""
        if isinstance(head, Variable):
            return self._name(head, head.name)
        return self.use(head) if isinstance(head, Ref) else self.declared(head).removeprefix(f"{inside}.")

    def variables(self) -> list[str]:
        """Return the statements that make the type variables. Call this after everything else has been spelt."""
        lines: list[str] = []
        made = {name: each for each, name in self._spellings.items() if isinstance(each, Variable)}
        for name, variable in sorted(made.items()):
            limits = [self.quoted(each) for each in variable.constraints]
            limits += [] if variable.bound is None else [f"bound={self.quoted(variable.bound)}"]
            limits += ["covariant=True"] if variable.is_covariant else []
            lines.append(f"{name} = {self.use(_TYPE_VARIABLE)}({', '.join([literal_text(name), *limits])})")
        return lines

    def quoted(self, type_: Type) -> str:
        """Return a type, quoted if it mentions a class: that may not exist yet."""
        text = self.spell(type_)
        return literal_text(text) if any(True for _ in mentioned(type_)) else text

    def express(self, expression: Expression, inside: str) -> str:
        """Return ``expression`` as text in the body of the class ``inside``."""
        text = ""
        for part in expression:
            self._note_packages([part])
            text += part if isinstance(part, str) else self._head(part, inside)
        return text

    def _note_packages(self, parts: Iterable[object]) -> None:
        """Note from which packages, other than the standard library, a name comes."""
        tops = {part.module.partition(".")[0] for part in parts if isinstance(part, Ref)}
        self._packages |= tops - sys.stdlib_module_names

    def _note_private(self, path: str) -> None:
        if any(part.startswith("_") for part in path.split(".")):
            self.pyright.add("reportPrivateUsage")

    def remarks(self) -> list[str]:
        """Return comments that switch off checks: mypy's for empty bodies, pyright's for names that come from the source.

        Call this after everything else has been spelt.
        """
        for declared in self._imports.exports.values():
            self._note_private(declared.name)
        rules = self.pyright | ({"reportUnusedClass"} if self._private else set())
        mypy = ['# mypy: disable-error-code="empty-body"'] if _REMOTE in self._spellings else []
        return mypy + ([f"# pyright: {', '.join(f'{rule}=false' for rule in sorted(rules))}"] if rules else [])

    def imports(self) -> list[str]:
        """Return the import statements at the top: the standard library, lastgood, other wrappers."""
        refs = [(ref.module, ref.name, name) for ref, name in self._spellings.items() if isinstance(ref, Ref)]
        others = [each for each in refs if each[0].partition(".")[0] in {"lastgood", *self._packages}]
        standard = [each for each in refs if each not in others and each[:2] != ("builtins", each[2])]
        types = [(each.module, each.name, name) for each, name in self._spellings.items() if isinstance(each, Declared)]
        types += [(each.module, each.name, alias) for alias, each in self._early_exports()]
        near = [(self._relative(module), name, alias) for module, name, alias in types]
        blocks = [list(_import_statements(block)) for block in (standard, others, near)]
        return [line for block in blocks if block for line in ("", *block)]

    def late_imports(self) -> list[str]:
        """Return the import statements at the end of the file."""
        lines = []
        for module, name in self._spellings.items():
            if isinstance(module, str) and module in self._imports.late:
                parent, _, last = module.rpartition(".")
                lines.append(f"from {self._relative(parent)} import {last} as {name}")
        late = [(self._relative(each.module), each.name, alias) for alias, each in self._exports(late=True)]
        lines = sorted(lines) + list(_import_statements(late))
        return ["", "", "# Down here, since these modules import this one too.", *lines] if lines else []

    def imports_beside(self, functions: Sequence[str]) -> list[str]:
        """Return the import statements for the submodules that have the names of ``functions``, to stand before these.

        The first import of a submodule binds its name in the package. After this, no later import takes the place of a function.
        """
        if functions:
            self.pyright.add("reportUnusedImport")
        names = [(each, self._name(f"{self._module}.{each}()", f"_{each}")) for each in functions]
        lines = [f"from .{each} import __name__ as {name}" for each, name in names]
        return (
            ["", "", "# Imported before the functions of these names, whose places they would take later.", *lines]
            if lines
            else []
        )

    def _early_exports(self) -> Iterator[tuple[str, Declared]]:
        return self._exports(late=False)

    def _exports(self, *, late: bool) -> Iterator[tuple[str, Declared]]:
        for alias, declared in self._imports.exports.items():
            if (declared.module in self._imports.late) is late:
                yield alias, declared

    def _relative(self, module: str) -> str:
        parts = module.split(".") if module else []
        shared = 0
        while shared < min(len(parts), len(self._package)) and parts[shared] == self._package[shared]:
            shared += 1
        return "." * (len(self._package) - shared + 1) + ".".join(parts[shared:])


def listed(start: str, items: Sequence[str], end: str, indent: str = "") -> list[str]:
    """Return a statement with a list in it: one line, or one for each of ``items`` if that is too long."""
    line = f"{start}{', '.join(items)}{end}"
    if len(line) <= _WIDTH or not items:
        return [line]
    return [start, *(f"{indent}    {item}," for item in items), f"{indent}{end}"]


def free(name: str, taken: AbstractSet[str]) -> str:
    """Return ``name``, with underscores added while it is ``taken``; never two in front, which a class would mangle."""
    while name in taken:
        name = f"{name}_" if name.startswith("_") else f"_{name}"
    return name


def _is_private_class(member: Function | Class | Constant) -> bool:
    return isinstance(member, Class) and member.name.startswith("_")


def _taken(members: Sequence[Function | Class | Constant]) -> set[str]:
    """Return every name of the user in a wrapper: functions, classes, fields and parameters, at any depth."""
    names: set[str] = set()
    for member in members:
        names.add(member.name)
        if isinstance(member, Class):
            names |= _taken(member.members)
            names.update(field.name for field in (member.data.fields if member.data else ()))
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                names.update(parameter.name for parameter in signature.parameters)
    return names


def _import_statements(imports: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield import statements in the order of isort. Names without an alias share one statement per module."""
    together: dict[str, list[str]] = {}
    alone: list[tuple[str, list[str]]] = []
    for module, name, alias in sorted(set(imports), key=lambda each: (*map(_rank, each[1:]), each[0])):
        if name == alias:
            together.setdefault(module, []).append(name)
        else:
            alone.append((module, [f"{name} as {alias}"]))
    statements = [(_natural(module), module, _rank(names[0]), names) for module, names in (*together.items(), *alone)]
    for _, module, _, names in sorted(statements):
        one = f"from {module} import {', '.join(names)}"
        yield from [one] if len(one) <= _WIDTH else listed(f"from {module} import (", names, ")")


def _rank(text: str) -> tuple[int, list[tuple[str, int]], str]:
    """Return the sort key of an imported name: constants first, then classes, then others."""
    name = text.partition(" ")[0]
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return kind, _natural(name), text


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a sort key: numbers by value, letters of any case."""
    return [("0", int(part)) if part.isdecimal() else (part, 0) for part in re.findall(r"\d+|\D", name.lower())]
