"""lastgood.wrappers.read.outline: which statement binds which name, and where."""

from __future__ import annotations

import ast

import pytest

from lastgood.wrappers.read.outline import Outline, outline
from wrapping import source


def outlined(text: str, *, is_package: bool = False) -> Outline:
    return outline(source("shop", text, is_package=is_package), ast.parse(text))


def in_class(text: str) -> list[str]:
    """The names that are bound in the class which ``text`` begins with."""
    tree = ast.parse(text)
    return [*outline(source("shop", text, is_package=True), tree).names(tree.body[0])]


def test_what_never_runs_is_not_there_for_type_checkers_either() -> None:
    text = "if sys.version_info < (3,):\n  if TYPE_CHECKING:\n    def f(): ...\n"
    assert not outlined(text).names().get("f")
    assert [each.at.type_only for each in outlined(text.replace("<", ">=")).names()["f"]] == [True]


def test_the_targets_of_a_loop_and_of_a_sum_are_variables() -> None:
    assert outlined("for a, (b, *c) in x: ...\nd += 1").variables == {"a", "b", "c", "d"}


def test_what_was_deleted_and_bound_again_has_the_later_definition_alone() -> None:
    found = outlined("def f(x): ...\ndel f, g.h\ndef f(): ...")
    assert [each.node.lineno for each in found.names()["f"]] == [3]
    assert found.deleted == set()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_a_function_binds_inside_is_its_own(kind: str) -> None:
    assert [*outlined(f"{kind} f():\n  import a\n  def g(): ...").names()] == ["f"]


def test_a_name_is_what_was_bound_last() -> None:
    (function,) = outlined("import a as x\nimport b as x\n@x.y\ndef f(): ...").names()["f"]
    assert function.decorators == {"b.y"}


def test_in_a_class_the_names_of_the_module_are_known_where_it_has_none_of_its_own() -> None:
    text = "import a as x\nimport b as y\nclass C:\n  import c as x\n  @x.d\n  @y.d\n  def f(self): ..."
    tree = ast.parse(text)
    (method,) = outline(source("shop", text), tree).names(tree.body[2])["f"]
    assert method.decorators == {"c.d", "b.d"}


def test_a_submodule_under_its_own_name_is_bound_by_its_import_and_in_a_class_by_the_statement() -> None:
    assert not outlined("from . import prices", is_package=True).names()
    assert [*outlined("from . import prices as p", is_package=True).names()] == ["p"]
    assert in_class("class C:\n  from . import prices") == ["prices"]


@pytest.mark.parametrize(
    ("text", "exports", "known"),
    [
        ("", None, True),
        ("__all__ = ['b', 'a']", ("b", "a"), True),
        ("__all__ = ['b'] + [*('a', 'c')]", ("b", "a", "c"), True),
        ("__all__ = ['a']\n__all__ += ['b']\n__all__.append('c')", ("a", "b", "c"), True),
        ("__all__ = ['a']\n__all__.remove('a')", ("a",), False),
        ("__all__ = ['a']\n__all__ = ['b']", ("b",), False),
        ("__all__ = ['a']\nclass C:\n  __all__ = ['b']\n  __all__ += ['c']", ("a",), True),
        ("import a.b\n__all__ = a.b.__all__", ("a.b.__all__",), True),
        ("__all__ = names()", (), False),
    ],
)
def test_what_is_exported(text: str, exports: tuple[str, ...] | None, known: bool) -> None:
    found = outlined(text)
    assert (found.exports, found.exports_are_known) == (exports, known)


@pytest.mark.parametrize(
    ("text", "doc"),
    [('"""A.\n    """', "A."), ('"""A.\n\n    B.\n    """', "A.\n\nB."), ('"""\n  """', None), ("x = 1", None)],
)
def test_a_docstring_is_clean(text: str, doc: str | None) -> None:
    assert outlined(text).doc == doc
