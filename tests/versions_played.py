"""Stories of edits (``versions.py``), played in a real session: each call does what the same call of the live source does.

The source itself, imported in this process and called as it is, says what that is. Classes are compared by the source's module and
qualified name, and by fields, since those of a wrapper are objects of their own.
"""

from __future__ import annotations

import asyncio
import enum
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import partial, reduce, wraps
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias

from hypothesis import Phase, given, seed, settings

from generating import importable
from lastgood import BridgeError, InProcessBridge, RemoteError, watch
from lastgood.errors import FunctionRemoved
from real_project import BROKEN, RealProject
from stories import Call, Story, stories
from versions import CONSTANTS, Version

__all__ = ["Stage", "play_stories", "staged"]

PACKAGE = "generated"
Outcome: TypeAlias = tuple[Any, ...]


def _silence(_: object) -> None:
    """The failures are meant."""


class Unsure(Exception):
    """Nothing is promised of this call."""


class Stage:
    """A session of a project with the module ``m``, and its wrapper in this process."""

    def __init__(self, root: Path, style: str, create_bridge: Callable[..., Any] | None) -> None:
        self._project = RealProject(root, {"m.py": ""})
        self._project.configure("m")
        config = self._project.config_file
        config.write_text(config.read_text() + f'style = "{style}"\n')
        self._oracles = root / "oracles"
        self._runner = asyncio.Runner()
        self._probe_fails = False
        self._count = 0
        self.edits = 0
        program = watch(
            config, create_bridge=create_bridge, probe=self._probe, on_event=_silence, debounce=1000, max_wait=1000
        )
        self._session = program.start()

    def close(self) -> None:
        self._session.close()
        self._runner.close()

    def _probe(self, _: object) -> None:
        if self._probe_fails:
            raise LookupError("the probe fails")

    def _reload(self, text: str) -> bool:
        self._project.save("m.py", text)
        return self._session.reload_now()

    def play(self, story: Story) -> None:
        """Play a story. Raises AssertionError at the first call that does something else than the live source's."""
        self._forget()
        assert self._reload(story.first.text()), self._session.status.error
        self.wrapper = importlib.import_module(f"{PACKAGE}.m")
        taken = _Taken(self.wrapper, {call.function for call in story.calls})
        with ExitStack() as stack:
            before = stack.enter_context(self._source(story.first))
            self._check(story, taken, before)
            for step in story.steps:
                for failure in step.failures:
                    self._fail(failure, step.version)
                    self._check(story, taken, before)
                now = stack.enter_context(self._source(step.version))
                held = self._hold(story, before, now)
                assert self._reload(step.version.text()), self._session.status.error
                self._check(story, taken, now, held)
                before = now
                self.edits += 1

    def _forget(self) -> None:
        """The app has not imported the wrapper yet."""
        sys.modules.pop(f"{PACKAGE}.m", None)
        vars(sys.modules.get(PACKAGE, self)).pop("m", None)

    @contextmanager
    def _source(self, version: Version) -> Iterator[ModuleType]:
        """The source in this version, imported in this process."""
        self._count += 1
        directory = self._oracles / str(self._count)
        directory.mkdir(parents=True)
        (directory / "m.py").write_text(version.text())
        bridge = InProcessBridge(import_path=[directory], modules=["m"], fresh=True)
        bridge.start()
        try:
            yield bridge.module("m")
        finally:
            bridge.stop()

    def _fail(self, failure: str, version: Version) -> None:
        self._probe_fails = failure == "probe"
        text = {"syntax": BROKEN, "import": version.text() + "1 / 0\n"}.get(failure, version.text())
        assert not self._reload(text)
        self._probe_fails = False

    # --- what is checked

    def _check(
        self,
        story: Story,
        taken: _Taken,
        source: ModuleType,
        held: Mapping[int, _Arguments] = MappingProxyType({}),
    ) -> None:
        """Check every call of the story. ``held``: arguments that were made before, by the place of their call."""
        for name in CONSTANTS:
            values = [described(vars(module).get(name, KeyError)) for module in (source, self.wrapper)]
            assert values[0] == values[1], name
        for place, call in enumerate(story.calls):
            arguments = held.get(place)
            if arguments is None:
                arguments = _Arguments(partial(_arguments, call, source), partial(_arguments, call, self.wrapper))
            expected, found = arguments.expected, arguments.made
            if expected[0] == "unsure":
                continue
            if expected[0] == "refused":  # of a function that is gone, no argument is looked at
                expected = _gone_or(source, call.function, expected)
            if expected[0] == "made":
                expected = self._of_source(call, source, *expected[1])
            if found[0] == "made":
                found = self._of_wrapper(call, taken, *found[1])
            if found[0] == "refused" and expected[0] in ("refused", "gone"):
                continue
            assert found == expected, f"{call}: expected {expected}, found {found}"

    def _hold(self, story: Story, first: ModuleType, second: ModuleType) -> dict[int, _Arguments]:
        """Arguments that are made before the edit, by the place of their call: they arrive as the second version's instances."""

        def carry(call: Call) -> Any:
            args, kwargs = _arguments(call, first)
            try:
                return [carried(each, second) for each in args], {
                    k: carried(each, second) for k, each in kwargs.items()
                }
            except TypeError as error:  # what was hashable is not any more
                raise BridgeError(str(error)) from None

        def make(call: Call) -> Any:
            if call.built == "before":
                return _arguments(call, self.wrapper)
            return [*map(self._returned, call.args)], {key: self._returned(text) for key, text in call.kwargs}

        return {
            place: _Arguments(partial(carry, call), partial(make, call))
            for place, call in enumerate(story.calls)
            if call.built != "after"
        }

    def _returned(self, text: str) -> Any:
        return self._run(self.wrapper.give(text))

    def _run(self, result: Any) -> Any:
        return self._runner.run(result) if inspect.iscoroutine(result) else result

    def _of_source(self, call: Call, source: ModuleType, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
        try:
            function = _find(source, call.function)
        except AttributeError:
            return ("gone",)
        return self._outcome(function, args, kwargs)

    def _of_wrapper(self, call: Call, taken: _Taken, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
        try:
            function = (
                _find(self.wrapper, call.function) if call.way == "module" else taken.function(call, self.wrapper)
            )
        except AttributeError:
            return ("gone",)
        if call.way == "partial":
            function, args = partial(function, *args[:1]), args[1:]
        return self._outcome(function, args, kwargs)

    def _outcome(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
        try:
            return "value", described(self._run(function(*args, **kwargs)))
        except Exception as error:
            return _failed(error)


def _failed(error: Exception) -> Outcome:
    match error:
        case FunctionRemoved():
            return ("gone",)
        case RemoteError():
            return "raised", error.type_name, error.message
        case BridgeError():
            return "refused", str(error)
    # From Python 3.14 on, some texts name the class of an argument with its module.
    return "raised", type(error).__name__, str(error).replace(f"{PACKAGE}.", "")


class _Arguments:
    """Arguments of a call, of the source's classes (``expected``) and of the wrapper's (``made``), or why there are none."""

    def __init__(self, expect: Callable[[], Any], make: Callable[[], Any]) -> None:
        self.expected = self._attempt(expect)
        self.made = self._attempt(make)

    def _attempt(self, make: Callable[[], Any]) -> Outcome:
        try:
            return "made", make()
        except Unsure:
            return ("unsure",)
        except Exception as error:
            return _failed(error)


class _Taken:
    """Functions that the app has taken by name, from a wrapper as it was then."""

    def __init__(self, wrapper: ModuleType, names: set[str]) -> None:
        self._by_name = {}
        for name in names:
            try:
                self._by_name[name] = _find(wrapper, name)
            except AttributeError:
                continue
        self._decorated = {name: _decorated(function) for name, function in self._by_name.items()}

    def function(self, call: Call, wrapper: ModuleType) -> Callable[..., Any]:
        """The function as ``call`` calls it; one that was not there yet is the module's own."""
        functions = self._decorated if call.way == "decorated" else self._by_name
        return functions[call.function] if call.function in functions else _find(wrapper, call.function)


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return changed


def _gone_or(source: ModuleType, function: str, outcome: Outcome) -> Outcome:
    try:
        _find(source, function)
    except AttributeError:
        return ("gone",)
    return outcome


def _find(module: Any, name: str) -> Any:
    return reduce(getattr, name.split("."), module)


def _arguments(call: Call, module: ModuleType) -> Any:
    space = dict(vars(module))
    return [eval(text, space) for text in call.args], {key: eval(text, space) for key, text in call.kwargs}


def _class(value: Any) -> tuple[str, str]:
    return type(value).__module__.removeprefix(f"{PACKAGE}."), type(value).__qualname__


def described(value: Any) -> Any:
    """A value as plain data, with the class of everything in it."""
    if isinstance(value, enum.Enum):
        return _class(value), value.name, described(value.value)
    if is_dataclass(value):
        return _class(value), [(each.name, described(getattr(value, each.name))) for each in fields(value)]
    if isinstance(value, dict):
        return _class(value), [(described(key), described(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return _class(value), getattr(value, "_fields", None), [described(each) for each in value]
    if isinstance(value, set | frozenset):
        return _class(value), sorted(map(repr, map(described, value)))
    return _class(value), repr(value)


def carried(value: Any, module: ModuleType) -> Any:
    """An instance of an earlier version as the live one's: by the names of its fields. Raises BridgeError where that fails."""

    def carry(each: Any) -> Any:
        return carried(each, module)

    if isinstance(value, dict):
        return {carry(key): carry(item) for key, item in value.items()}
    kind = type(value)
    if kind.__module__ != "m":
        return kind(map(carry, value)) if isinstance(value, list | tuple | set | frozenset) else value
    try:
        now = _find(module, kind.__qualname__)
    except AttributeError:
        raise BridgeError(f"{kind.__qualname__} is gone") from None
    if isinstance(value, enum.Enum):
        members = {name: member.value for name, member in now.__members__.items()}
        if described(members) == described({name: each.value for name, each in kind.__members__.items()}):
            return now(value.value)
        raise Unsure  # by name or by value
    names = _field_names(now)
    if not hasattr(value, "__dict__") and (lost := {*_field_names(kind)} - {*names}):
        raise BridgeError(f"{kind.__qualname__} has no place for {lost}")
    try:
        return now(**{name: carry(getattr(value, name)) for name in names if hasattr(value, name)})
    except TypeError as error:
        raise BridgeError(str(error)) from None


def _field_names(kind: Any) -> Sequence[str]:
    return [each.name for each in fields(kind)] if is_dataclass(kind) else [*kind._fields]


@contextmanager
def staged(root: Path, style: str, create_bridge: Callable[..., Any] | None) -> Iterator[Stage]:
    """A stage, and the import path that it needs."""
    with importable(root, PACKAGE):
        stage = Stage(root, style, create_bridge)
        try:
            yield stage
        finally:
            stage.close()


def play_stories(count: int, root: Path, style: str, create_bridge: Callable[..., Any] | None, start: int = 0) -> int:
    """Play so many stories, those of the seed ``start``, with wrappers of that style. Return the number of edits.

    A story that fails is not shrunk, since that takes minutes: ``--hypothesis-profile=explore`` does it.
    """
    is_exploring = settings.get_current_profile_name() == "explore"
    phases = (Phase.explicit, Phase.generate, Phase.shrink) if is_exploring else (Phase.explicit, Phase.generate)
    with staged(root, style, create_bridge) as stage:

        @seed(start)
        @settings(max_examples=count, deadline=None, database=None, print_blob=True, phases=phases)
        @given(stories())
        def each(story: Story) -> None:
            stage.play(story)

        each()
        return stage.edits
