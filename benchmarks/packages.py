"""What wrappers keep of packages from PyPI that no test has seen: one run, a line for each package, and the totals.

    python benchmarks/packages.py DIRECTORY [--only NAME ...] [--calls N] [--types] [--warnings] [--json FILE]

The packages of ``packages_table.py`` are installed into DIRECTORY, once: their environment, and a copy of their sources. For each,
a process imports its modules and says what functions they really offer; lastgood makes the wrappers without importing anything.
Counted are the functions (and static and class methods) that are

- *wrapped*;
- *named* in a warning, or in a module of which a warning says that it makes names when it runs;
- *silent*: neither, which is a fault. *Silent names* are classes and other values;
- *typed*: wrapped with a result that is not ``Any``, out of those that are annotated in the source or in a stub beside it.

``--calls N``: N calls with literal arguments (from docstrings, and from the table), made directly and through a worker; those that
work directly, with a result that can leave a process, have to be equal. ``--types``: ``mypy --strict`` and pyright in strict mode
(as far as it is installed) over all wrappers. ``--warnings`` prints every warning. Status 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import trio
from packages_child import comparable
from packages_table import BESIDES, CALLS, PACKAGES

import lastgood
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config, load_config
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Finder
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import resolve_modules, worker_interpreter
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor import wrapper_texts
from lastgood.wrappers.process.extractor_process import ExtractorProcess
from lastgood.wrappers.types.warning_texts import summed_up

PROBE = """
import importlib, json, sys
sys.path[:0] = [sys.argv[1]]
found = {}
for module, paths in json.load(sys.stdin).items():
    wrapper = importlib.import_module(f"{sys.argv[2]}.{module}")
    for path in paths:
        value = wrapper
        for name in path.split("."):
            value = getattr(value, name, sys)
        if value is not sys:
            found.setdefault(module, {})[path] = str(getattr(value, "__annotations__", {}).get("return", "Any"))
json.dump(found, sys.stdout)
"""
MOST_OF_ONE = 6
CALL_TIMEOUT = 30.0


@dataclass
class Counts:
    """What was counted of one package. Names are full ones, of the module that offers them."""

    package: str
    modules: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    functions: int = 0
    wrapped: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    silent_names: list[str] = field(default_factory=list)
    annotated: int = 0
    typed: int = 0
    untyped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    not_imported: list[str] = field(default_factory=list)


class Corpus:
    """The installed packages in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.sources = self.directory / "src"
        self.python = self.directory / "venv" / "bin" / "python"

    def install(self) -> None:
        """Install every package of the table, unless that has been done."""
        done, pinned = self.directory / "installed.json", json.dumps([*PACKAGES, *BESIDES])
        if done.is_file() and done.read_text() == pinned:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        print("installing ...", file=sys.stderr)
        venv.create(self.directory / "venv", clear=True, with_pip=True)
        pip = [str(self.python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES, *BESIDES], check=True)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        asked = subprocess.run([str(self.python), "-c", where], check=True, capture_output=True, text=True)
        shutil.rmtree(self.sources, ignore_errors=True)
        self.sources.mkdir()
        for top in {module.partition(".")[0] for modules in PACKAGES.values() for module in modules}:
            path = Path(asked.stdout.strip(), top)
            if path.is_dir():
                shutil.copytree(path, self.sources / top, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(path.with_suffix(".py"), self.sources / f"{top}.py")
        done.write_text(pinned)

    def child(self, what: str, request: Mapping[str, Any]) -> Any:
        """Have ``packages_child.py`` do something in the environment of the packages."""
        script = Path(__file__).with_name("packages_child.py")
        env = {**os.environ, "PACKAGES_PATH": json.dumps([str(self.sources)]), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [self.python, "-W", "ignore", script, what],
            input=json.dumps(request),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def config(self, package: str) -> Config:
        """Write and load the config of one package."""
        tables = "".join(f'[modules."{module}"]\n' for module in PACKAGES[package])
        path = self.directory / f"{_short(package)}.toml"
        path.write_text(
            f'python_import_path = ["src"]\n{tables}[output]\ndir = "{output_of(package)}"\n'
            f'[runtime.process]\nvirtual_env = "venv"\ntimeout = {CALL_TIMEOUT}\n'
        )
        return load_config(path)


def _short(package: str) -> str:
    return package.partition("==")[0].lower().replace("-", "_")


def output_of(package: str) -> str:
    """The directory, and package, of the wrappers of one package."""
    return f"w_{_short(package)}"


def generate(corpus: Corpus, package: str, counts: Counts) -> None:
    """Write the wrappers of a package, and note warnings, crashes and seconds."""
    config = corpus.config(package)
    finder = Finder(Disk(), config.python_import_path, worker_interpreter(config.runtime.process))
    extractor = ExtractorProcess()
    at, since = "start", time.perf_counter()

    def note(module: str, _: object) -> None:
        nonlocal at, since
        now = time.perf_counter()
        counts.seconds[at] = counts.seconds.get(at, 0.0) + now - since
        at, since = module, now

    extractor.note = note
    extractor.start()
    try:
        resolved = resolve_modules(config, finder)
        pinned = Pinner(Contents(Disk()), extractor.imports_of).pin(config, resolved, finder)
        note("rest", None)
        texts, told, _ = wrapper_texts(extractor, pinned, config, resolved, finder.python)
    finally:
        extractor.end()
    note("end", None)
    counts.warnings = list(told.warnings)
    counts.crashes = [f"{each.module}:{each.line}: {each.message}" for each in told.failures]
    target = corpus.directory / output_of(package)
    shutil.rmtree(target, ignore_errors=True)
    for name, data in texts.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def count(corpus: Corpus, package: str) -> tuple[Counts, dict[str, list[str]]]:
    """Wrap a package and compare with what it offers. Return the counts, and the wrapped functions by module."""
    counts = Counts(package, len(PACKAGES[package]))
    generate(corpus, package, counts)
    real = corpus.child("names", {"modules": PACKAGES[package]})
    counts.not_imported = [f"{module}: {each['error']}" for module, each in real.items() if each["error"]]
    asked = {module: [name["path"] for name in each["names"]] for module, each in real.items()}
    failed = {text.partition(":")[0] for text in counts.crashes}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(corpus.directory), output_of(package)],
        input=json.dumps({module: paths for module, paths in asked.items() if module not in failed}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        counts.crashes.append(f"{package}: wrappers cannot be imported: {done.stderr.strip().splitlines()[-1]}")
        return counts, {}
    found = json.loads(done.stdout)
    functions: dict[str, list[str]] = {}
    about = {text.partition(": ")[0] for text in counts.warnings}
    dynamic = {text.partition(": ")[0] for text in counts.warnings if ": it makes names when it runs" in text}
    for module, each in real.items():
        for name in each["names"]:
            is_function = name["kind"] in ("function", "method")
            full, path = f"{module}.{name['path']}", name["path"]
            counts.functions += is_function
            counts.annotated += name["annotated"]
            if path in found.get(module, {}):
                if is_function:
                    counts.wrapped.append(full)
                    functions.setdefault(module, []).append(path)
                    is_typed = found[module][path] != "Any"
                    counts.typed += is_typed and name["annotated"]
                    counts.untyped += [full] * (name["annotated"] and not is_typed)
            elif any(above in about for above in _around(module, path)) or module in dynamic:
                counts.named += [full] * is_function
            else:
                (counts.silent if is_function else counts.silent_names).append(f"{full} ({name['type']})")
    return counts, functions


def _around(module: str, path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join((module, *parts[:depth])) for depth in range(1, len(parts) + 1))


# Calls.


async def calls(corpus: Corpus, functions: Mapping[str, Mapping[str, list[str]]], wanted: int) -> dict[str, Any]:
    """Make calls through the wrappers, and compare with direct ones. Return how many were equal, and what was not."""
    told: dict[str, Any] = {"made": 0, "raised": 0, "functions": 0, "stay": 0, "different": []}
    sys.path.insert(0, str(corpus.directory))
    for package, by_module in functions.items():
        given = {name: texts for name, texts in CALLS.items() if texts}
        direct = corpus.child("calls", {"functions": by_module, "given": given, "most": MOST_OF_ONE})
        crossing = [each for each in direct if "opaque" not in json.dumps(each["result"])]
        told["stay"] += len(direct) - len(crossing)
        if not crossing or told["made"] >= wanted:
            continue
        bridge = ProcessBridge.from_config(load_config(corpus.directory / f"{_short(package)}.toml"))
        await bridge.init()
        lastgood.set_runtime_bridge(bridge)
        try:
            for each in crossing:
                wrapper = _reached(f"{output_of(package)}.{each['module']}", each["path"])
                result = await _result(wrapper, each["given"])
                if each["result"][0] == "stream" and result[0] != "stream":
                    told["stay"] += 1  # an iterator that is not known to be one stays in its process
                    continue
                told["made"] += 1
                told["raised"] += result[0] == "raised"
                if result != each["result"]:
                    name = f"{each['module']}.{each['path']}{each['given']}"
                    told["different"].append({"call": name, "direct": each["result"], "wrapper": result})
            told["functions"] += len({(each["module"], each["path"]) for each in crossing})
        finally:
            lastgood.clear_runtime_bridge()
            await bridge.dispose()
    return told


def _reached(module: str, path: str) -> Any:
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        value = getattr(value, name)
    return value


async def _result(wrapper: Any, given: str) -> Any:
    args, kwargs = ast.literal_eval(given)
    try:
        value = wrapper(*args, **kwargs)
        if isinstance(value, AsyncIterator):
            items = []
            async for item in value:
                items.append(comparable(item))
                if len(items) == 100:
                    break
            return ["stream", items]
        return json.loads(json.dumps(comparable(await value)))
    except lastgood.RemoteError as error:
        return ["raised", error.type_name.rpartition(".")[2], error.message]
    except Exception as error:
        return ["raised", type(error).__name__, str(error)]


# Type checkers.


def type_errors(corpus: Corpus, packages: Sequence[str]) -> dict[str, list[str] | None]:
    """Return what mypy and pyright say of all wrappers together; None where one is not installed."""
    outputs = [output_of(package) for package in packages]
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--cache-dir=.mypy_cache"]
    checked = subprocess.run([*mypy, *outputs], cwd=corpus.directory, capture_output=True, text=True, check=False)
    told: dict[str, list[str] | None] = {"mypy": (checked.stdout + checked.stderr).splitlines(), "pyright": None}
    if importlib.util.find_spec("pyright") is not None:
        options = {"typeCheckingMode": "strict", "include": outputs}
        (corpus.directory / "pyrightconfig.json").write_text(json.dumps(options))
        pyright = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
        checked = subprocess.run(pyright, cwd=corpus.directory, capture_output=True, text=True, check=False)
        if re.search(r"^\d+ errors?, ", checked.stdout, re.MULTILINE) is None:
            raise RuntimeError(f"pyright has not checked anything: {checked.stdout}{checked.stderr}")
        told["pyright"] = [line.strip() for line in checked.stdout.splitlines() if " error: " in line]
    return told


# Output.


def show(all_counts: Sequence[Counts], told: Mapping[str, Any], *, warnings: bool) -> None:
    """Print the table and the totals."""
    row = "{:<32}{:>8}{:>10}{:>9}{:>7}{:>8}{:>8}{:>11}{:>7}{:>10}{:>10}"
    print(
        row.format(
            *(
                "package",
                "modules",
                "functions",
                "wrapped",
                "named",
                "silent",
                "+names",
                "annotated",
                "typed",
                "warnings",
            ),
            "s/module",
        )
    )
    for each in all_counts:
        print(row.format(each.package, *_figures(each)))
    whole = Counts("all")
    for each in all_counts:
        for name, value in vars(each).items():
            if isinstance(value, int | list):
                setattr(whole, name, getattr(whole, name) + value)
        whole.seconds[each.package] = sum(each.seconds.values())
    print(row.format(f"{len(all_counts)} packages", *_figures(whole)))
    slowest = sorted(((s, m) for each in all_counts for m, s in each.seconds.items() if m not in ("start", "end")))[-5:]
    print("slowest modules: " + ", ".join(f"{module} {seconds:.2f} s" for seconds, module in reversed(slowest)))
    print("\nwarnings by cause")
    for line in summed_up(whole.warnings):
        print(f"  {line}")
    for what in ("crashes", "silent", "silent_names", "not_imported"):
        names = getattr(whole, what)
        if names:
            print(f"\n{what.replace('_', ' ')}: {len(names)}")
            for name in names:
                print(f"  {name}")
    for what, value in told.items():
        print(f"\n{what}: {_brief(value)}")
    if warnings:
        print("\nevery warning")
        for warning in whole.warnings:
            print(f"  {warning}")


def _figures(each: Counts) -> tuple[object, ...]:
    seconds = sum(each.seconds.values()) / max(1, each.modules)
    return (
        *(each.modules, each.functions, len(each.wrapped), len(each.named), len(each.silent), len(each.silent_names)),
        *(each.annotated, each.typed, len(each.warnings), f"{seconds:.2f}"),
    )


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "\n  ".join([f"{len(value)}", *map(str, value[:40])])
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {_brief(inner)}" for name, inner in value.items())
    return str(value)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="names of packages")
    parser.add_argument("--calls", type=int, default=0, metavar="N")
    parser.add_argument("--types", action="store_true")
    parser.add_argument("--warnings", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    corpus = Corpus(options.directory)
    corpus.install()
    chosen = [each for each in PACKAGES if not options.only or each.partition("==")[0] in options.only]
    all_counts, functions = [], {}
    for package in chosen:
        counts, functions[package] = count(corpus, package)
        all_counts.append(counts)
        print(f"{package} ", end="", file=sys.stderr, flush=True)
    told: dict[str, Any] = {}
    if options.calls:
        told["calls"] = trio.run(calls, corpus, functions, options.calls)
    if options.types:
        told["type errors"] = type_errors(corpus, chosen)
    print(file=sys.stderr)
    show(all_counts, told, warnings=options.warnings)
    if options.json:
        options.json.write_text(json.dumps({"packages": [*map(asdict, all_counts)], **told}, indent=1))
    sys.exit(any(each.silent or each.silent_names or each.crashes for each in all_counts))


if __name__ == "__main__":
    main()
