"""A script of edits for ``reload.py``: after each, the answer of every reloader is compared with what a fresh process answers.

Each case has modules of its own, so that what one reloader gets wrong once counts once. *Right*: as a fresh process; *stale*: as
before the edit; *wrong*: neither; *down*: no answer. While the program cannot be imported, a fresh process answers nothing: there,
the answer before the edit is right.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reload_peers import Kind, Running
from reload_programs import SERVED, Program, save

__all__ = ["CASES", "OUTCOMES", "Case", "Script"]

OUTCOMES = ("right", "stale", "wrong", "down")

ANSWER = """

def attempt(shown):
    try:
        return shown()
    except Exception as error:
        return f"raised {type(error).__name__}"


def answer() -> str:
    values = {}
"""


@dataclass(frozen=True)
class Case:
    """An edit: files before, files after (None: deleted), and what shows it: imports, and an expression."""

    name: str
    imports: str
    shows: str
    before: Mapping[str, str]
    after: Mapping[str, str | None]
    breaks: bool = False
    same_second: bool = False  # as the first save, by the modification times


def _function(value: int) -> str:
    return f"def value():\n    return {value}\n"


CASES: Sequence[Case] = (
    Case(
        "a function's body", "from body import value", "value()", {"body.py": _function(1)}, {"body.py": _function(2)}
    ),
    Case(
        "a constant taken by name",
        "from uses_rate import value",
        "value()",
        {"rate.py": "RATE = 1\n", "uses_rate.py": "from rate import RATE\n\n\ndef value():\n    return RATE\n"},
        {"rate.py": "RATE = 2\n"},
    ),
    Case(
        "a constant as a default",
        "from uses_limit import value",
        "value()",
        {
            "limit.py": "LIMIT = 1\n",
            "uses_limit.py": "import limit\n\n\ndef value(most=limit.LIMIT):\n    return most\n",
        },
        {"limit.py": "LIMIT = 2\n"},
    ),
    Case(
        "a class with an instance, its method",
        "from uses_box import BOX",
        "BOX.area()",
        {
            "box.py": "class Box:\n    def area(self):\n        return 1\n",
            "uses_box.py": "from box import Box\n\nBOX = Box()\n",
        },
        {"box.py": "class Box:\n    def area(self):\n        return 2\n"},
    ),
    Case(
        "a class with an instance, its __init__",
        "from uses_tank import TANK",
        "vars(TANK)",
        {
            "tank.py": "class Tank:\n    def __init__(self):\n        self.full = 1\n",
            "uses_tank.py": "from tank import Tank\n\nTANK = Tank()\n",
        },
        {"tank.py": "class Tank:\n    def __init__(self):\n        self.full = 1\n        self.level = 2\n"},
    ),
    Case(
        "a field of a dataclass",
        "from uses_point import Point",
        "Point()",
        {
            "point.py": "from dataclasses import dataclass\n\n\n@dataclass\nclass Point:\n    x: int = 1\n",
            "uses_point.py": "from point import Point\n",
        },
        {
            "point.py": "from dataclasses import dataclass\n\n\n@dataclass\nclass Point:\n    x: int = 1\n    y: int = 2\n"
        },
    ),
    Case(
        "a member of an enum that others hold",
        "from kind import Kind\nfrom uses_kind import STATE",
        "STATE is Kind.OLD and list(Kind)",
        {
            "kind.py": "import enum\n\n\nclass Kind(enum.Enum):\n    OLD = 1\n",
            "uses_kind.py": "from kind import Kind\n\nSTATE = Kind.OLD\n",
        },
        {"kind.py": "import enum\n\n\nclass Kind(enum.Enum):\n    OLD = 1\n    NEW = 2\n"},
    ),
    Case(
        "a base class",
        "from derived import Derived",
        "(Derived().value(), Derived.LEVEL)",
        {
            "base.py": "class Base:\n    LEVEL = 1\n\n    def value(self):\n        return 1\n",
            "derived.py": "from base import Base\n\n\nclass Derived(Base):\n    pass\n",
        },
        {"base.py": "class Base:\n    LEVEL = 2\n\n    def value(self):\n        return 2\n"},
    ),
    Case(
        "a function that is deleted",
        "import gone",
        "hasattr(gone, 'helper')",
        {"gone.py": "def helper():\n    return 1\n\n\ndef other():\n    return 2\n"},
        {"gone.py": "def other():\n    return 2\n"},
    ),
    Case(
        "a decorator's default",
        "from uses_scaled import value",
        "value()",
        {
            "scaled.py": "def scaled(by=2):\n    return lambda function: lambda: function() * by\n",
            "uses_scaled.py": "from scaled import scaled\n\n\n@scaled()\ndef value():\n    return 10\n",
        },
        {"scaled.py": "def scaled(by=3):\n    return lambda function: lambda: function() * by\n"},
    ),
    Case(
        "a variable of the environment that is no longer set",
        "import os\nimport sets",
        "os.environ.get('RELOAD_BENCHMARK')",
        {"sets.py": "import os\n\nos.environ['RELOAD_BENCHMARK'] = 'set'\n"},
        {"sets.py": "import os\n"},
    ),
    Case(
        "a registry, one entry renamed",
        "import plugins\nfrom registry import HANDLERS",
        "sorted(HANDLERS)",
        {
            "registry.py": "HANDLERS = {}\n\n\ndef register(name):\n    return lambda it: HANDLERS.update({name: it})\n",
            "plugins.py": "import registry\n\n\n@registry.register('a')\ndef a(): ...\n\n\n@registry.register('b')\ndef b(): ...\n",
        },
        {
            "plugins.py": "import registry\n\n\n@registry.register('a')\ndef a(): ...\n\n\n@registry.register('c')\ndef c(): ...\n"
        },
    ),
    Case(
        "a registry that grows as modules are run",
        "from adds import value\nfrom routes import ROUTES",
        "(len(ROUTES), value())",
        {"routes.py": "ROUTES = []\n", "adds.py": f"import routes\n\nroutes.ROUTES.append('/')\n\n\n{_function(1)}"},
        {"adds.py": f"import routes\n\nroutes.ROUTES.append('/')\n\n\n{_function(2)}"},
    ),
    Case(
        "a value computed at import from another module's",
        "from settings import LEVEL",
        "LEVEL",
        {"flags.py": "DEBUG = False\n", "settings.py": "import flags\n\nLEVEL = 10 if flags.DEBUG else 30\n"},
        {"flags.py": "DEBUG = True\n"},
    ),
    Case(
        "a result that is cached in another module",
        "from caches import value",
        "value()",
        {
            "price.py": _function(1),
            "caches.py": "import functools\n\nimport price\n\n\n@functools.cache\ndef value():\n    return price.value()\n",
        },
        {"price.py": _function(2)},
    ),
    Case(
        "a function that another module has in a list",
        "from steps import STEPS",
        "[step() for step in STEPS]",
        {"step.py": _function(1), "steps.py": "from step import value\n\nSTEPS = [value]\n"},
        {"step.py": _function(2)},
    ),
    Case(
        "a patch of the standard library that is taken out",
        "import colorsys\nimport patches",
        "colorsys.rgb_to_yiq(0, 0, 0)",
        {"patches.py": "import colorsys\n\ncolorsys.rgb_to_yiq = max\n"},
        {"patches.py": "import colorsys\n"},
    ),
    Case(
        "a new module, imported by an old one",
        "from grows import value",
        "value()",
        {"grows.py": _function(1)},
        {"added.py": _function(2), "grows.py": "from added import value\n"},
    ),
    Case(
        "a module that is renamed",
        "from follows import value",
        "value()",
        {"former.py": _function(1), "follows.py": "from former import value\n"},
        {"latter.py": _function(2), "former.py": None, "follows.py": "from latter import value\n"},
    ),
    Case(
        "two saves of one size",
        "from size import value",
        "value()",
        {"size.py": _function(1)},
        {"size.py": _function(2)},
        same_second=True,
    ),
    Case(
        "a syntax error",
        "from broken import value",
        "value()",
        {"broken.py": _function(1)},
        {"broken.py": "def value(:\n"},
        breaks=True,
    ),
    Case("… mended", "from broken import value", "value()", {}, {"broken.py": _function(3)}),
    Case(
        "an exception at import",
        "from raises import value",
        "value()",
        {"raises.py": _function(1)},
        {"raises.py": "1 / 0\n"},
        breaks=True,
    ),
    Case("… mended", "from raises import value", "value()", {}, {"raises.py": _function(3)}),
)


def program() -> Program:
    """The program of all cases; ``main.answer()`` gives the value of each, by its place."""
    files = {name: text for case in CASES for name, text in case.before.items()}
    for place, case in enumerate(CASES):
        shows = f"\n\ndef shown():\n    return repr({case.shows})\n"
        files[f"case{place}.py"] = f"{case.imports}\n{shows}"
    imports = "".join(f"from case{place} import shown as shown{place}\n" for place in range(len(CASES)))
    shown = "".join(f"    values[{place}] = attempt(shown{place})\n" for place in range(len(CASES)))
    main = f"import json\n\n{imports}{ANSWER}{shown}    return json.dumps(values)\n{SERVED}"
    return Program({**files, "main.py": main}, "body.py", lambda version: _function(version + 1))


def fresh(root: Path) -> str | None:
    """What a fresh process answers, with no bytecode of an earlier one; None if it cannot be imported."""
    command = [sys.executable, "-B", "-X", f"pycache_prefix={root}/none", "-c", "import main; print(main.answer())"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def apply(case: Case, root: Path, second: float, *, in_place: bool) -> None:
    """Make the edit of a case in a project. ``second``: the time of the first save, where that of the edit is to be the same."""
    for name, text in case.after.items():
        if text is None:
            (root / name).unlink()
        else:
            save(root / name, text, in_place=in_place, modified=second if case.same_second else None)


def value(answer: str | None, place: int) -> str | None:
    """Return the value of one case in an answer; None if nothing answered."""
    if answer is None:
        return None
    try:
        return str(json.loads(answer)[str(place)])
    except ValueError:
        return answer


@dataclass
class Script:
    """The script, run by several reloaders at once, each in a project of its own below ``top``.

    Each has ``patience`` seconds to give the right answer to an edit. One that is down is started anew before the next case.
    """

    kinds: Sequence[Kind]
    top: Path
    patience: float

    def judge(self) -> dict[str, dict[str, list[str]]]:
        """Run the script. Return, by reloader, the names of the cases by outcome."""
        second = float(int(time.time()))
        self._roots = {
            kind.name: self.top / kind.name.replace(" ", "_") for kind in (*self.kinds, Kind("fresh", _none))
        }
        for root in self._roots.values():
            program().write(root)
            for name in (name for case in CASES if case.same_second for name in case.before):
                os.utime(root / name, (second, second))
        self._running = {kind.name: Running(kind, self._roots[kind.name]) for kind in self.kinds}
        outcomes: dict[str, dict[str, list[str]]] = {kind.name: {each: [] for each in OUTCOMES} for kind in self.kinds}
        try:
            good = fresh(self._roots["fresh"])
            assert good is not None
            for each in self._running.values():
                each.wait_for(good)
            for place, case in enumerate(CASES):
                for name, root in self._roots.items():
                    apply(case, root, second, in_place=name in self._running and self._running[name].kind.in_place)
                answer = fresh(self._roots["fresh"])
                assert (answer is None) == case.breaks, case.name
                before, good = good, answer or good
                values = self._settled(place, value(good, place), wait=case.breaks)
                for name, got in values.items():
                    outcomes[name][_outcome(got, value(good, place), value(before, place))].append(case.name)
                    if got is None and not case.breaks:
                        self._running[name].stop()
                        self._running[name].start()
                        self._running[name].wait_for(good)
        finally:
            for each in self._running.values():
                each.stop()
        return outcomes

    def _settled(self, place: int, expected: str | None, *, wait: bool) -> dict[str, str | None]:
        """Ask everybody until all are right, or nobody's answer has changed for a while; ``wait``: for all of the patience."""
        end = time.perf_counter() + self.patience
        last: dict[str, str | None] = {}
        changed = time.perf_counter()
        while True:
            with ThreadPoolExecutor(len(self._running)) as pool:
                answers = pool.map(lambda each: each.ask(timeout=0.5), self._running.values())
                values = {name: value(answer, place) for name, answer in zip(self._running, answers, strict=True)}
            now = time.perf_counter()
            if values != last:
                last, changed = values, now
            calm = None not in values.values() and now - changed > self.patience / 2
            if now > end or (not wait and (calm or all(got == expected for got in values.values()))):
                return values
            time.sleep(0.02)


def _none(_root: Path, _port: int, _answer: Path) -> list[str]:
    raise NotImplementedError("a fresh process is no reloader")


def _outcome(got: str | None, expected: str | None, before: str | None) -> str:
    if got == expected:
        return "right"
    return "down" if got is None else "stale" if got == before else "wrong"
