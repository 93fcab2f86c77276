"""The namespace of a wrapper: what its text has bound in the app's module, and what its next text will bind.

- A function stays the same object, and gets another declaration (:func:`lastgood.calls.declarations.redeclare`). Functions
  are found by file, module and qualified name, also after an ``importlib.reload``, or if a name has gone and comes back. A
  coroutine function cannot become a plain one: there are two objects then, and the one that is not declared says so.
- A class whose declaration has not changed stays the same object: its statement has the same syntax tree, and what it
  evaluates when it is executed (bases, decorators, values) gives the same objects.
- A class that has changed stays the same object where that is possible (:mod:`lastgood.calls.grafting`).
- A name that the app has assigned in a module stays as it is.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, ForwardRef
from weakref import WeakKeyDictionary, WeakValueDictionary

from lastgood.calls.declarations import PLACE, Declaration, Make, declaration_of, redeclare
from lastgood.calls.grafting import can_graft, graft, pairs

__all__ = ["NAME", "Bound", "Namespace", "bound", "placing", "record", "remove"]

logger = logging.getLogger(__name__)

NAME = "__lastgood_name__"
"""The global of a new namespace that has the name of the module that it is for, while it is executed."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The names that a wrapper's text has bound in its module. ``text`` None: the live generation does not have this wrapper.

    ``functions``: those that call, at any depth, by qualified name.
    """

    text: bytes | None
    names: Mapping[str, Any]
    functions: Mapping[str, FunctionType]
    statements: Mapping[str, str]
    """The syntax tree of each class statement, as text, by name."""


bound: WeakKeyDictionary[ModuleType, Bound] = WeakKeyDictionary()
_functions: WeakValueDictionary[tuple[str, str, str, bool], FunctionType] = WeakValueDictionary()
"""The functions of all wrappers, by file, module and qualified name, and whether they are coroutine functions."""
_classes: WeakValueDictionary[tuple[str, str, str], type] = WeakValueDictionary()
"""The classes of all wrappers, by file, module and name: those that are gone, too, as long as somebody has them."""


def record(module: ModuleType, text: bytes) -> None:
    """Record what ``text``, which was just executed in ``module``, has bound there."""
    body = ast.parse(text).body
    names = {name: vars(module)[name] for name in _names_bound_by(body) if name in vars(module)}
    functions = dict(_functions_in(names, module.__name__))
    for qualname, function in functions.items():
        declaration = declaration_of(function)
        assert declaration is not None
        _functions.setdefault(_key(module, qualname, is_coroutine=declaration.is_coroutine), function)
    _note_classes(module, names)
    bound[module] = Bound(text, names, functions, _statements(body))


def _note_classes(module: ModuleType, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        if isinstance(value, type) and (value.__module__, value.__qualname__) == (module.__name__, name):
            _classes[module.__file__ or "", module.__name__, name] = value


def _names_bound_by(body: Sequence[ast.stmt]) -> Iterator[str]:
    yield from ("__doc__", "__annotations__")
    for statement in body:
        match statement:
            case ast.ClassDef(name) | ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
                yield name
            case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
                yield name
            case ast.ImportFrom(names=names):
                yield from (each.asname or each.name for each in names)


def _functions_in(names: Mapping[str, Any], module: str) -> Iterator[tuple[str, FunctionType]]:
    for value in names.values():
        function = value.__func__ if isinstance(value, staticmethod) else value
        if isinstance(function, FunctionType):
            if declaration_of(function) is not None and function.__module__ == module:
                yield function.__qualname__, function
        elif isinstance(value, type) and value.__module__ == module:
            yield from _functions_in(vars(value), module)


def _statements(body: Sequence[ast.stmt]) -> dict[str, str]:
    """Return the class statements as text, by name. What a docstring says does not count."""
    return {each.name: _dump(each) for each in body if isinstance(each, ast.ClassDef)}


def _dump(statement: ast.ClassDef) -> str:
    if ast.get_docstring(statement) is not None:
        statement = copy.copy(statement)
        statement.body = [ast.Expr(ast.Constant("")), *statement.body[1:]]
    return ast.dump(statement)


@contextmanager
def placing(module: ModuleType) -> Iterator[None]:
    """While ``module`` is executed, take the functions that exist from an earlier import of it."""

    def place(declaration: Declaration, make: Make) -> FunctionType:
        function = _existing(module, declaration)
        _leave_other(module, declaration)
        if function is None:
            return _made(module, declaration, make)
        redeclare(function, declaration)
        return function

    vars(module)[PLACE] = place
    try:
        yield
    finally:
        vars(module).pop(PLACE, None)


def _key(module: ModuleType, qualname: str, *, is_coroutine: bool) -> tuple[str, str, str, bool]:
    return module.__file__ or "", module.__name__, qualname, is_coroutine


def _existing(module: ModuleType, declaration: Declaration) -> FunctionType | None:
    """Return the function for ``declaration`` that exists already, if there is one."""
    return _functions.get(_key(module, declaration.stub.__qualname__, is_coroutine=declaration.is_coroutine))


def _made(module: ModuleType, declaration: Declaration, make: Make) -> FunctionType:
    function = make(declaration)
    _functions[_key(module, declaration.stub.__qualname__, is_coroutine=declaration.is_coroutine)] = function
    return function


def _leave_other(module: ModuleType, declaration: Declaration) -> None:
    """Have the function that ``declaration`` cannot be given to say why, if one of them is a stream and the other is not."""
    other = _functions.get(_key(module, declaration.stub.__qualname__, is_coroutine=not declaration.is_coroutine))
    left = declaration_of(other)
    if other is not None and left is not None and left.stream != declaration.stream:
        redeclare(other, left.renewed(left.changed(declaration)))


class Namespace:
    """The new namespace of one module. It is that of ``stand_in``, a module of another name, under which nobody looks."""

    def __init__(
        self,
        module: ModuleType,
        text: bytes,
        imported: Callable[..., Any],
        standing: dict[int, Any],
        *,
        is_new: bool = False,
    ) -> None:
        self.module = module
        self._standing = standing
        self._text = text
        self._is_new = is_new
        self._file = module.__file__ or ""
        self._before = bound.get(module, Bound(None, {}, {}, {}))
        self.stand_in = ModuleType(f"{module.__name__} (next)")
        self._space = vars(self.stand_in)
        self._hidden = {
            "__name__": self.stand_in.__name__,
            **dict.fromkeys(("__spec__", "__loader__")),
            "__package__": module.__package__,
            "__file__": self._file,
            "__builtins__": {**vars(builtins), "__import__": imported},
            NAME: module.__name__,
            PLACE: self._place,
        }
        self._redeclared: list[tuple[FunctionType, Declaration]] = []
        self._placed: dict[str, FunctionType] = {}
        self._kept: list[tuple[type, str | None]] = []  # with their docstrings
        self._classes: list[tuple[str, CodeType, type, type | None]] = []

    def execute(self) -> None:
        tree = ast.parse(self._text, self._file)
        self._statements = _statements(tree.body)
        with self._executing():
            for statements in _chunks(tree.body):
                first = statements[0]
                if isinstance(first, ast.ClassDef) and self._keep(first):
                    continue
                flags = __future__.annotations.compiler_flag
                code = compile(ast.Module(statements, []), self._file, "exec", flags, dont_inherit=True)
                exec(code, self._space)
                if isinstance(first, ast.ClassDef):
                    self._note_class(first.name, code)

    @contextmanager
    def _executing(self) -> Iterator[None]:
        self._space.update(self._hidden)
        # While a class is made, dataclasses look here for what the text of an annotation means.
        sys.modules[self.stand_in.__name__] = self.stand_in
        try:
            yield
        finally:
            del sys.modules[self.stand_in.__name__]
            self._space["__builtins__"] = builtins
            for name in (PLACE, NAME):
                del self._space[name]

    def _note_class(self, name: str, code: CodeType) -> None:
        """Note a class that has been made, and which class it is to be grafted onto, if any."""
        made, before = self._space[name], self._before.names.get(name)
        self._attribute(made)
        if before is None:
            before = _classes.get((self._file, self.module.__name__, name))
        kept = None
        if isinstance(before, type) and before.__module__ == self.module.__name__:
            bases = tuple(self._standing.get(id(base), base) for base in made.__bases__)
            if can_graft(before, made, bases):
                kept = before
                self._standing.update((id(new), old) for new, old in pairs(before, made))
        self._classes.append((name, code, made, kept))

    def rebuild(self) -> None:
        """Make the classes that are not kept once more, for good: from classes and members that stay, not from their stand-ins.

        It runs what :meth:`execute` has run, on the same values.
        """
        with self._executing():
            self._space[PLACE] = lambda declaration, _: self._placed[declaration.stub.__qualname__]
            for name, value in list(self._space.items()):
                self._space[name] = self._standing.get(id(value), value)
            for name, code, stand_in, kept in self._classes:
                try:
                    exec(code, self._space)
                except Exception:  # it has worked before
                    logger.exception("%s.%s could not be brought up to date in place", self.module.__name__, name)
                    continue
                made = self._space[name]
                self._attribute(made)
                if kept is not None:
                    graft(kept, made)
                    self._space[name] = kept
                else:
                    self._standing[id(stand_in)] = made

    def _place(self, declaration: Declaration, make: Make) -> FunctionType:
        new = declaration.moved_to(_moved(declaration.stub, self.module))
        function = _existing(self.module, new)
        if function is None:
            function = _made(self.module, new, make)
        else:
            self._redeclared.append((function, new))
        self._placed[new.stub.__qualname__] = function
        return function

    def _keep(self, statement: ast.ClassDef) -> bool:
        """Keep the class that exists, if ``statement`` would make the same; return whether it does."""
        name, before = statement.name, self._before
        kept = before.names.get(name)
        if not isinstance(kept, type) or before.statements.get(name) != self._statements[name]:
            return False
        for need in _needs(statement):
            now = _value(need, self._space)
            stays = self._standing.get(id(now), now)
            # A class that stays, but has changed, may be a base: what is inherited has changed too.
            if stays is not _value(need, before.names) or (stays is not now and isinstance(stays, type)):
                return False
        self._space[name] = kept
        self._kept.append((kept, ast.get_docstring(statement, clean=False)))
        for qualname, function in before.functions.items():
            if qualname.startswith(f"{name}."):
                declaration = declaration_of(function)
                assert declaration is not None
                self._redeclared.append((function, declaration.renewed()))
                self._placed[qualname] = function
        return True

    def _attribute(self, value: Any) -> None:
        """Make a new class, and those in it, one of the module itself."""
        if isinstance(value, type) and value.__module__ == self.stand_in.__name__:
            value.__module__ = self.module.__name__
            for each in list(vars(value).values()):
                self._attribute(each)
            for hint in vars(value).get("__annotations__", {}).values():
                if isinstance(hint, ForwardRef):
                    hint.__forward_module__ = self.module.__name__

    def apply(self, stand_ins: Mapping[int, ModuleType], *, is_reload: bool) -> None:
        if self._is_new and sys.modules.setdefault(self.module.__name__, self.module) is self.module:
            parent, _, tail = self.module.__name__.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], tail, self.module)
        names = {name: value for name, value in self._space.items() if name not in self._hidden}
        for name, value in names.items():
            names[name] = stand_ins.get(id(value)) or self._standing.get(id(value), value)
        for function, declaration in self._redeclared:
            redeclare(function, declaration)
        for kept, doc in self._kept:
            if doc is not None:
                type.__setattr__(kept, "__doc__", doc)
        # Not self._before: a reload since may have bound the same names to other objects.
        space, before = vars(self.module), bound.get(self.module, self._before).names
        space.update(
            {
                name: value
                for name, value in names.items()
                if is_reload or name not in space or (name in before and space[name] is before[name])
            }
        )
        for name in before.keys() - names.keys():
            if name in space and space[name] is before[name]:
                del space[name]
        for qualname, function in self._before.functions.items():
            if qualname not in self._placed:
                remove(function)
        for function in self._placed.values():
            declared = declaration_of(function)
            assert declared is not None
            _leave_other(self.module, declared)
        _note_classes(self.module, names)
        bound[self.module] = Bound(self._text, names, self._placed, self._statements)


def remove(function: FunctionType) -> None:
    """Make calls of a wrapper's function raise :class:`FunctionRemoved`, until it is declared again."""
    declaration = declaration_of(function)
    assert declaration is not None
    redeclare(function, declaration.removed())


def _moved(stub: Any, module: ModuleType) -> FunctionType:
    """Return a copy of ``stub`` that looks up names in ``module``."""
    moved = FunctionType(stub.__code__, vars(module), stub.__name__, stub.__defaults__, stub.__closure__)
    moved.__qualname__ = stub.__qualname__
    moved.__kwdefaults__ = stub.__kwdefaults__
    moved.__annotations__ = stub.__annotations__
    moved.__doc__ = stub.__doc__
    return moved


def _chunks(body: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Yield the statements in order: each class by itself, others together."""
    chunk: list[ast.stmt] = []
    for statement in body:
        if not isinstance(statement, ast.ClassDef):
            chunk.append(statement)
            continue
        if chunk:
            yield chunk
        yield [statement]
        chunk = []
    if chunk:
        yield chunk


class _Needs(ast.NodeVisitor):
    """The names, and attributes of names, that a class statement evaluates: not its annotations, which are text."""

    def __init__(self) -> None:
        self.found: list[ast.expr] = []

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None: ...

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in (*node.decorator_list, node.args):
            self.visit(each)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function  # noqa: N815  # named by ast

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name | ast.Attribute):
            self.found.append(node)
        else:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.found.append(node)


def _needs(statement: ast.ClassDef) -> list[ast.expr]:
    needs = _Needs()
    needs.visit(statement)
    return needs.found


def _value(need: ast.expr, space: Mapping[str, Any]) -> Any:
    """Return what a name or an attribute is in ``space``; None if it is not there."""
    if isinstance(need, ast.Name):
        return space.get(need.id)
    return getattr(_value(need.value, space), need.attr, None) if isinstance(need, ast.Attribute) else None
