"""Random small projects, and random edits of them, the same for the same seed: what spares are tried with."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from string import Template

from random_statements import CHANGE, DEFINE, LOOK, OTHERS, OUTSIDE, RARE, modules_in

__all__ = ["EDITS", "HOOK", "NAMES", "Project", "Source", "edit", "random_project"]

HOOK = '''
def take(file, *args):
    """Run a function that is not the project's, and load nothing for it."""
    import sys
    names = {"__name__": "worker_state"}
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("worker_state", file)
    exec(loader.get_code("worker_state"), names)
    return names["state"](*args)
'''
# What each module begins with, after its imports: what the statements of others use.
PROLOGUE = '''VALUE = $K
REGISTRY = []
COUNTER = 0

class Thing:
    """Something to patch."""
    value = $K

    def method(self):
        return VALUE

def helper():
    return VALUE + $K

def count():
    global COUNTER
    COUNTER += 1
    return COUNTER

def registered(function):
    REGISTRY.append(function.__qualname__)
    return function
'''
PLIB = """import os
import sys
import qlib
settings = {"mode": "default $K"}
registered = []
READ = os.environ.get("PLIB_MODE"), "decimal" in sys.modules

class Options:
    level = 0

def register(name):
    registered.append(name)

qlib.order.append("plib")
"""
# A source in this encoding has it loaded if it is compiled, and not if its code is taken from the cache: fresh workers differ.
START = "import encodings.cp1252\n"
INSTALLED = {
    "site/sitecustomize.py": START,
    "site/plib/__init__.py": PLIB,
    "site/plib/extra.py": "from . import settings\nVALUE = dict(settings)\nsettings['extra'] = $K\n",
    "site/qlib.py": "import json\norder = []\ntotal = 0\n\ndef count(number):\n    global total\n    total += number\n",
}
# ns is a namespace package; the last two are names of the standard library.
NAMES = (
    "core",
    "util",
    "models",
    "pkg",
    "pkg.sub",
    "pkg.deep",
    "pkg.deep.leaf",
    "ns.part",
    "ns.inner.other",
    "colorsys",
    "sched",
)
PACKAGES = ("pkg", "pkg.deep")
MAYBE = ("optional", "later", "extra_mod", "pkg.optional", "xdrlib_like")
DATA = (
    "data.txt",
    "data/a.txt",
    "data/b.txt",
    "flag",
    "later.txt",
    "conf.json",
    "conf.ini",
    "data/1.txt",
    "more.ini",
    "data/new.txt",
)
HERE = "os.path.dirname(os.path.abspath(__file__))"
ENCODINGS = (
    "",
    "",
    "",
    "# -*- coding: latin-1 -*-\n",
    "# coding: cp1252\n",
    "# vim: set fileencoding=utf-8 :\n",
    "\ufeff",
)
_NUMBER = re.compile(r"(?<![\w.])\d{1,2}(?!\w)")


@dataclass
class Source:
    """A module: ``blocks`` are its statements, one or a few each, after what a file begins with."""

    name: str
    is_package: bool = False
    encoding: str = ""
    doc: str = ""
    future: bool = False
    blocks: list[str] = field(default_factory=list)
    imported: dict[str, str] = field(default_factory=dict)
    """What the local modules that it has imported are called in it."""

    @property
    def path(self) -> str:
        return f"src/{self.name.replace('.', '/')}{'/__init__' if self.is_package else ''}.py"

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]

    def render(self) -> bytes:
        future = "from __future__ import annotations\n" if self.future else ""
        text = self.encoding + self.doc + future + "".join(self.blocks)
        return text.encode("latin-1" if "latin" in text[:30] else "cp1252" if "cp1252" in text[:30] else "utf-8")

    def has_imported(self, name: str, index: int) -> bool:
        """Return whether one of the blocks before ``index`` imports the installed module of that name."""
        return any(
            re.search(rf"^import (\S+, )*{re.escape(name)}\b(?!\.)", block, re.MULTILINE)
            for block in self.blocks[:index]
        )


@dataclass
class Project:
    """``others`` are all other files below its root; ``outside`` the directory that statements may write into."""

    outside: str
    sources: list[Source] = field(default_factory=list)
    others: dict[str, bytes] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """What is different in the app's own environment."""
    settings: str = ""
    """What stands under [runtime.process] besides."""
    number: int = 0
    looked_at: list[str] = field(default_factory=list)
    """Files that a statement asks for."""
    focus: str = "main"
    """The module of the last edit."""

    def files(self) -> dict[str, bytes]:
        """Return the bytes of every file."""
        return {**self.others, **{source.path: source.render() for source in self.sources}}

    def source(self, name: str) -> Source | None:
        return next((source for source in self.sources if source.name == name), None)

    def fill(self, random: Random, statement: str, source: Source) -> str | None:
        """Fill in a statement for ``source``; None if it needs another module, and there is none."""
        self.number += 1
        others = list(source.imported.values())
        if "$M" in statement and not others:
            return None
        data, module = random.choice(DATA), random.choice(MAYBE)
        if "$D" in statement:
            self.looked_at.append(f"{source.directory}/{data}")
        elif "/data" in statement:
            self.looked_at += [f"{source.directory}/data/{name}" for name in ("a.txt", "new.txt")]
        elif "$X" in statement:
            self.looked_at.append(f"src/{module.replace('.', '/')}.py")
        elif "settings.txt" in statement:
            self.looked_at.append("settings.txt")
        return Template(statement).safe_substitute(
            N=f"{self.number}",
            K=f"{random.randrange(100)}",
            D=data,
            X=module,
            M=random.choice(others) if others else "",
            H=random.choice((HERE, HERE, "os.path.dirname(__file__)")),
            O=self.outside,
        )

    def statement(self, random: Random, source: Source) -> str:
        """Return a random statement for ``source``."""
        while True:
            [kind] = random.choices((DEFINE, LOOK, CHANGE, OTHERS, OUTSIDE, RARE), (30, 36, 20, 14, 2, 1))
            filled = self.fill(random, random.choice(kind), source)
            if filled is not None:
                return filled

    def insert(self, random: Random, source: Source, index: int, block: str) -> None:
        """Put a block into ``source``, with the imports that it needs: just before it, or as the first of all."""
        needed = [name for name in modules_in(block) if not source.has_imported(name, index)]
        source.blocks.insert(index, block)
        if needed:
            lines = (
                f"import {', '.join(needed)}\n"
                if random.random() < 0.7
                else "".join(f"import {name}\n" for name in needed)
            )
            source.blocks.insert(random.choice((0, 0, index)), lines)


def importing(random: Random, source: Source, target: Source) -> tuple[str, str]:
    """Return an import statement, and what the target is called after it ("" if it cannot be said)."""
    name = target.name
    parent, _, last = name.rpartition(".")
    forms = [(f"import {name}\n", name), (f"import {name} as {last}_\n", f"{last}_")]
    forms.append((f"from {name} import VALUE as {last}_value, REGISTRY as {last}_registry\n", ""))
    forms.append((f"from {name} import *\n", ""))
    if parent:
        forms.append((f"from {parent} import {last}\n", last))
    if source.package and parent == source.package:
        forms += [(f"from . import {last}\n", last), (f"from .{last} import Thing, helper as {last}_helper\n", "")] * 2
    elif "." in source.package and parent == source.package.rpartition(".")[0]:
        forms.append((f"from .. import {last}\n", last))
    return random.choice(forms)


def connect(project: Project, random: Random, source: Source, target: Source) -> None:
    """Have ``source`` import ``target`` in one of the ways in which programs do."""
    statement, called = importing(random, source, target)
    line, bare = statement.rstrip(), f"import {target.name}"
    prologue = _prologue(source)
    middle = random.randint(prologue + 1, len(source.blocks))
    project.number += 1
    match random.choices(("header", "middle", "called", "late", "checking", "try", "dynamic"), (55, 18, 6, 6, 3, 8, 4))[
        0
    ]:
        case "header":
            source.blocks.insert(random.randint(0, prologue), statement)
        case "middle":
            source.blocks.insert(middle, statement)
            called = ""  # not yet, in what may come before
        case "called":
            source.blocks.insert(
                middle, f"def load_{project.number}():\n    {bare}\n    return {target.name}\nload_{project.number}()\n"
            )
            called = ""
        case "late":
            source.blocks.insert(middle, f"def later_{project.number}():\n    {bare}\n")
            called = ""
        case "checking":
            source.blocks.insert(0, f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {bare}\n")
            called = ""
        case "try":
            place = random.choice((prologue, middle))
            source.blocks.insert(place, f"try:\n    {line}\nexcept ImportError:\n    pass\n")
            called = called if place == prologue else ""
        case "dynamic":
            source.blocks.insert(
                middle, f'import importlib\nDYNAMIC_{project.number} = importlib.import_module("{target.name}")\n'
            )
            called = ""
    if called:
        source.imported[target.name] = called


def _prologue(source: Source) -> int:
    return next(index for index, block in enumerate(source.blocks) if block.startswith("VALUE ="))


def new_source(random: Random, name: str) -> Source:
    source = Source(name, is_package=name in PACKAGES)
    source.encoding = random.choice(ENCODINGS)
    source.doc = random.choice(("", '"""A module."""\n', '"""Several\nlines.\n"""\n'))
    source.future = random.random() < 0.3
    source.blocks = ["import os\nimport sys\n", Template(PROLOGUE).substitute(K=random.randrange(100))]
    if random.random() < 0.3:
        source.blocks.append('ACCENT = "\u00e9"\n')
    return source


def random_project(random: Random, outside: str) -> Project:
    """Return a project of 3 to 8 modules; ``main`` imports the others, directly or not, and ``hook`` is the last."""
    project = Project(outside)
    chosen = {name for name in NAMES if random.random() < 0.5}
    chosen |= {package for package in PACKAGES for name in chosen if name.startswith(f"{package}.")}
    names = ["main", *random.sample(sorted(chosen), len(chosen))[:7]]
    names += [each for each in PACKAGES if each not in names and any(name.startswith(f"{each}.") for name in names)]
    project.sources = [
        new_source(random, name) for name in (*names, *(["util"] if len(names) < 3 and "util" not in names else []))
    ]
    for index, target in list(enumerate(project.sources))[1:]:
        for source in random.sample(project.sources[:index], k=min(index, random.choice((1, 1, 2)))):
            connect(project, random, source, target)
    if random.random() < 0.3:
        last, first = project.sources[-1], random.choice(project.sources[:-1])
        last.blocks.insert(random.choice((0, len(last.blocks))), f"import {first.name}\n")
    for source in project.sources:
        for _ in range(random.choice((0, 1, 2))):  # in the header, if an import follows
            block = project.statement(random, source)
            if not re.search(r"^(def|class|async|@)|REGISTRY|Thing|VALUE", block, re.MULTILINE):
                project.insert(random, source, _prologue(source), block)
                if random.random() < 0.5:
                    source.blocks.insert(_prologue(source), "import textwrap\n")
        for _ in range(random.randint(2, 7)):
            index = random.randint(_prologue(source) + 1, len(source.blocks))
            project.insert(random, source, index, project.statement(random, source))
    project.sources.append(Source("hook", blocks=[HOOK]))
    for path, text in INSTALLED.items():
        project.others[path] = Template(text).substitute(K=random.randrange(100)).encode()
    project.others["settings.txt"] = b"first\n"
    project.others["src/extra/late_mod.py"] = b"VALUE = 1\n"
    for directory in sorted({source.directory for source in project.sources}):
        for name in DATA[: random.randint(3, 7)]:
            if name != "flag" or random.random() < 0.5:
                project.others[f"{directory}/{name}"] = b'{"a": 1}' if name.endswith("json") else b"[text]\nkey = 1\n"
    return project


# --- edits


class Editor:
    """Edits a project, mostly in one of its modules."""

    def __init__(self, project: Project, random: Random, source: Source) -> None:
        self.project = project
        self.random = random
        self.source = source

    def own(self) -> list[Source]:
        """Return the modules that may be edited."""
        return [source for source in self.project.sources if source.name != "hook"]

    def place(self) -> int:
        """Return an index for a block: the top or the bottom as often as anywhere."""
        return self.random.choice((0, len(self.source.blocks), self.random.randint(0, len(self.source.blocks))))

    def change_number(self) -> None:
        places = [index for index, block in enumerate(self.source.blocks) if _NUMBER.search(block)]
        index = self.random.choice((*places, *places[-3:], *places[-2:]))
        found = self.random.choice(list(_NUMBER.finditer(self.source.blocks[index])))
        block = self.source.blocks[index]
        self.source.blocks[index] = block[: found.start()] + str(self.random.randrange(100)) + block[found.end() :]

    def insert_statement(self) -> None:
        self.project.insert(self.random, self.source, self.place(), self.project.statement(self.random, self.source))

    def append_statement(self) -> None:
        self.project.insert(
            self.random, self.source, len(self.source.blocks), self.project.statement(self.random, self.source)
        )

    def remove_statement(self) -> None:
        places = [
            index
            for index, block in enumerate(self.source.blocks)
            if "import " not in block and not block.startswith("VALUE =")
        ]
        if places:
            del self.source.blocks[self.random.choice(places)]

    def remove_import(self) -> None:
        places = [
            index
            for index, block in enumerate(self.source.blocks)
            if block.startswith(("import ", "from ")) and " os" not in block
        ]
        if places:
            del self.source.blocks[self.random.choice(places)]

    def swap_statements(self) -> None:
        index = self.random.randrange(len(self.source.blocks) - 1)
        self.source.blocks[index : index + 2] = reversed(self.source.blocks[index : index + 2])

    def shift_lines(self) -> None:
        self.source.blocks.insert(
            self.place(), self.random.choice(("# a comment\n", "\n\n", "# one\n# two\n", '"""text"""\n', "pass\n"))
        )

    def change_beginning(self) -> None:
        match self.random.choice(("doc", "future", "encoding", "import")):
            case "doc":
                self.source.doc = self.random.choice(("", '"""Another docstring."""\n', "'''It\n\nis longer.'''\n"))
            case "future":
                self.source.future = not self.source.future
            case "encoding":
                self.source.encoding = self.random.choice((*ENCODINGS, "#!/usr/bin/python\n# coding: latin-1\n", "\n"))
            case "import":
                self.source.blocks.insert(
                    0, f"import {self.random.choice(('json', 'decimal', 'textwrap', 'string', 'plib', 'heapq'))}\n"
                )

    def add_import(self) -> None:
        connect(
            self.project,
            self.random,
            self.source,
            self.random.choice([each for each in self.own() if each is not self.source]),
        )

    def rename_module(self) -> None:
        simple = [each for each in self.own() if "." not in each.name and not each.is_package and each.name != "main"]
        if simple:
            renamed = self.random.choice(simple)
            old, renamed.name = renamed.name, f"renamed_{self.project.number}"
            for each in self.project.sources:
                each.blocks = [re.sub(rf"\b{old}\b", renamed.name, block) for block in each.blocks]

    def add_module(self) -> None:
        """Add one that somebody asks for, or one that comes before another."""
        names = [
            name
            for name in (*MAYBE, "json", "plib", "dataclasses", "extra.optional", "data.optional", "ns")
            if not self.project.source(name)
        ]
        names = [name for name in names if not name.startswith("pkg.") or self.project.source("pkg")]
        asked = [path[4:-3].replace("/", ".") for path in self.project.looked_at if path.endswith(".py")]
        name = self.random.choice((*names, *[name for name in asked if name in names] * 3))
        self.project.sources.insert(
            1,
            Source(name, is_package=name == "ns", blocks=[Template(PROLOGUE).substitute(K=self.random.randrange(100))]),
        )

    def remove_module(self) -> None:
        added = [each for each in self.own() if each.name in (*MAYBE, "json", "plib", "dataclasses", "ns")]
        if added or self.random.random() < 0.3:
            gone = self.random.choice(
                added or [each for each in self.own()[1:] if not each.is_package] or [self.source]
            )
            if gone.name != "main":
                self.project.sources.remove(gone)

    def make_package(self) -> None:
        if "." not in self.source.name and self.source.name != "main":
            self.source.is_package = not self.source.is_package

    def edit_data(self) -> None:
        """Change, add or remove a file, mostly one that is asked for; half of the time, edit a module as well."""
        directory = self.random.choice((self.source.directory, self.random.choice(self.own()).directory))
        path = f"{directory}/{self.random.choice(DATA)}"
        if self.project.looked_at and self.random.random() < 0.8:
            path = self.random.choice(self.project.looked_at)
        if path.endswith(".py"):
            self.add_module()
        elif path in self.project.others and path != "settings.txt" and self.random.random() < 0.4:
            del self.project.others[path]
        else:
            contents = (b"[text]\nkey = 2\n", b'{"a": 2}', b"[text]\nkey = 1\nmore = 1\n", b"")
            self.project.others[path] = self.random.choice(contents)
        if self.random.random() < 0.5:
            self.change_number()

    def edit_late(self) -> None:
        """Change the module that only a dynamic import reaches."""
        self.project.others["src/extra/late_mod.py"] = f"VALUE = {self.random.randrange(100)}\n".encode()

    def change_environment(self) -> None:
        self.project.environment = {"APP": f"{self.random.randrange(3)}"}

    def change_settings(self) -> None:
        self.project.settings = self.random.choice(
            ("", "threads = 2\n", "timeout = 20\n", 'env.LEVEL = "8"\n', 'env.MORE = "1"\n')
        )

    def edit_two(self) -> None:
        """Edit this module and another one."""
        self.change_number()
        self.source = self.random.choice(self.own())
        self.random.choice((self.change_number, self.append_statement, self.shift_lines))()

    def change_ends(self) -> None:
        """Have lines end as on Windows, or not any more; or the last line not end."""
        blocks = self.source.blocks
        if any("\r\n" in block for block in blocks):
            blocks[:] = [block.replace("\r\n", "\n") for block in blocks]
        elif self.random.random() < 0.5:
            blocks[:] = [block.replace("\n", "\r\n") for block in blocks]
        else:
            blocks[-1] = blocks[-1].rstrip("\n")

    def edit_installed(self) -> None:
        path = self.random.choice(sorted(INSTALLED.keys() - {"site/sitecustomize.py"}))
        self.project.others[path] += f"\nADDED_{self.project.number} = {self.random.randrange(100)}\n".encode()

    def raise_something(self) -> None:
        broken = self.random.choice(
            ("raise RuntimeError('broken $K')", "1 / 0", "import missing_$K", "undefined_$K", "raise SystemExit($K)")
        )
        self.source.blocks.insert(self.place(), Template(broken + "\n").substitute(K=self.random.randrange(100)))

    def break_syntax(self) -> None:
        self.source.blocks.insert(
            self.place(),
            self.random.choice(("def broken(:\n", "return 3\n", "    indented = 1\n", "x = (\n", "nonlocal x\n")),
        )

    def change_nothing(self) -> None:
        """Only ask for a cycle."""


EDITS = {
    "change_number": 30,
    "append_statement": 14,
    "insert_statement": 10,
    "remove_statement": 6,
    "remove_import": 1,
    "swap_statements": 3,
    "shift_lines": 8,
    "change_beginning": 5,
    "add_import": 3,
    "rename_module": 1,
    "add_module": 5,
    "remove_module": 2,
    "make_package": 1,
    "edit_data": 16,
    "edit_late": 2,
    "edit_two": 4,
    "change_ends": 1,
    "change_environment": 1,
    "change_settings": 1,
    "edit_installed": 2,
    "raise_something": 2,
    "break_syntax": 2,
    "change_nothing": 1,
}


def edit(project: Project, random: Random) -> tuple[str, Project]:
    """Return the name of a random edit, and the project after it. Four of five are in the module of the last one."""
    made = deepcopy(project)
    own = [source for source in made.sources if source.name != "hook"]
    source = made.source(project.focus) if random.random() < 0.8 else None
    source = source or random.choice(own)
    [chosen] = random.choices(list(EDITS), list(EDITS.values()))
    getattr(Editor(made, random, source), chosen)()
    if made.source(source.name):
        made.focus = source.name
    return f"{chosen} {source.name}", made
