"""After the warm-up of a cycle its wrappers are compared with the worker, if the bridge can say what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from lastgood import ProcessBridge, ReloadSuccess
from lastgood.bridges.worker.interface import FUNCTION
from lastgood.session.watch import WatchProgram, watch
from real_project import FakeBridge, FakeFactory, RealProject, Told, in_virtual_time

SOURCE = "from helper import amount\n\ndef quote(sku: str) -> float: ...\n"
OTHER = "def other(sku: str) -> float: ...\n"


class Describing(FakeBridge):
    """A bridge in which every function takes ``there``."""

    asked: list[list[str]]
    there: list[tuple[str, int, bool]]

    async def interface(self, functions: Any, modules: Any) -> Any:
        self.log.append("interface")
        self.asked.append(list(modules))
        await trio.lowlevel.checkpoint()
        return [[(False, self.there, None) for _ in functions], [(False, []) for _ in modules]]


class Describers(FakeFactory):
    def __init__(self, kind: type[Describing] = Describing) -> None:
        super().__init__()
        self.kind = kind
        self.asked: list[list[str]] = []
        self.there = [("sku", 1, False)]

    async def create_bridge(self, config: Any) -> FakeBridge:  # noqa: ARG002  # as the base has it
        bridge = self.kind(len(self.bridges) + 1, self.pass_by)
        bridge.asked, bridge.there = self.asked, self.there
        self.bridges.append(bridge)
        return bridge


def prepared(project: RealProject) -> None:
    project.save("helper.py", "amount = 1\n")
    project.save("pricing.py", SOURCE)
    project.save("shop.py", OTHER)
    project.configure("pricing", "shop")


async def warnings_of(told: Told) -> tuple[str, ...]:
    return (await told.next(ReloadSuccess)).warnings


async def test_a_module_is_asked_about_again_only_when_it_or_what_it_imports_has_changed(project: RealProject) -> None:
    prepared(project)
    factory, told = Describers(), Told()
    async with watch(project.config_file, create_bridge=factory.create_bridge, on_event=told) as session:
        assert await warnings_of(told) == ()
        assert factory.asked == [["pricing", "shop"]]
        assert factory.latest.log == ["init", "interface"]
        for path, text, asked in [
            ("shop.py", OTHER + "# edited\n", ["shop"]),
            ("helper.py", "amount = 2\n", ["pricing"]),
            ("helper.py", "amount = 1\n", None),  # as it was before
        ]:
            project.save(path, text)
            factory.asked.clear()
            assert await session.reload_now()
            assert factory.asked == ([] if asked is None else [asked])


async def test_only_the_last_comparisons_are_remembered(project: RealProject) -> None:
    prepared(project)
    told = Told()
    async with watch(project.config_file, create_bridge=Describers().create_bridge, on_event=told) as session:
        sizes = []
        for version in range(12):
            project.save("pricing.py", f"{SOURCE}VERSION = {version}\n")
            assert await session.settle()
            sizes.append(len(session._project.differences._here))
    assert max(sizes) == sizes[-1] == sizes[6]


async def test_differences_are_warnings_of_every_cycle_in_which_they_are(project: RealProject) -> None:
    prepared(project)
    factory, told = Describers(), Told()
    factory.there = [("code", 1, False)]
    async with watch(project.config_file, create_bridge=factory.create_bridge, on_event=told) as session:
        first = await warnings_of(told)
        assert [text.partition(":")[0] for text in first] == ["pricing.quote", "shop.other"]
        assert "it takes (sku), but in the worker it takes (code)" in first[0]
        assert await session.reload_now()
        assert await warnings_of(told) == first
        assert len(factory.asked) == 1


class Making(Describing):
    """A bridge whose modules have a name that they make when they run."""

    async def interface(self, functions: Any, modules: Any) -> Any:
        described, _ = await super().interface(functions, modules)
        return [described, [(False, [("made", FUNCTION, name)]) for name in modules]]


async def test_names_that_a_module_makes_when_it_runs_are_told_of_once(project: RealProject) -> None:
    prepared(project)
    project.save("shop.py", OTHER + "exec('def made(): ...')\n")
    told = Told()
    async with watch(project.config_file, create_bridge=Describers(Making).create_bridge, on_event=told):
        texts = await warnings_of(told)
    assert [text.partition(" names ")[0] for text in texts] == ["shop: it makes", "pricing: its wrapper lacks"]


class Raising(Describing):
    async def interface(self, *_: object) -> Any:
        raise ValueError


class Garbled(Describing):
    async def interface(self, *_: object) -> Any:
        return ["?"]


@pytest.mark.parametrize("kind", [Raising, Garbled])
async def test_one_that_fails_fails_no_cycle_and_warns_of_nothing(project: RealProject, kind: type[Describing]) -> None:
    prepared(project)
    told = Told()
    async with watch(project.config_file, create_bridge=Describers(kind).create_bridge, on_event=told):
        assert await warnings_of(told) == ()


class Hanging(Describing):
    async def interface(self, *question: Any) -> Any:
        self.asked.append(list(question[1]))
        await trio.sleep_forever()


def test_one_that_hangs_is_given_up_after_two_seconds_and_not_asked_the_same_again(project: RealProject) -> None:
    async def main() -> None:
        factory, told = Describers(Hanging), Told()
        async with watch(project.config_file, create_bridge=factory.create_bridge, on_event=told) as session:
            good = await told.success()
            assert good.timings["warm"] > 2.0 - 1e-6  # virtual time goes on while a thread works
            assert await session.reload_now()
            assert len(factory.asked) == 1

    in_virtual_time(main)


async def test_a_bridge_that_cannot_say_it_is_not_asked(start: Callable[..., WatchProgram], told: Told) -> None:
    async with start():
        assert (await told.success()).warnings == ()


async def test_a_real_worker_is_compared(project: RealProject) -> None:
    project.save("pricing.py", "def replaced(sku): ...\nreplaced.__code__ = (lambda code, /: 1).__code__\n")
    told = Told()
    async with watch(project.config_file, create_bridge=ProcessBridge.from_config, on_event=told):
        (warning,) = await warnings_of(told)
        assert warning.startswith(
            "pricing.replaced: its wrapper says that it takes (sku), but in the worker it takes (code, /)"
        )
