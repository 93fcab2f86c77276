"""lastgood.generators.inputs: what is watched for a generator, and which sources its globs mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lastgood.config import Config, decode_config
from lastgood.errors import ConfigError
from lastgood.generators.inputs import Inputs, expand_sources, field_of, inputs_of
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Interpreter
from lastgood.sources.pinning import Pinner
from lastgood.store.disk import Disk
from real_project import RealProject

FILES = {
    "gen/__init__.py": "",
    "gen/make.py": "from gen import words\nimport json\ndef run(config, stage): ...\n",
    "gen/words.py": "",
    "protos/a.proto": "",
    "protos/deep/b.proto": "",
    "protos/c.txt": "",
    "generated/old.proto": "",
    ".lastgood/stage-1/old.proto": "",
}


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path, FILES)


def config_of(project: RealProject, *tables: str) -> Config:
    text = '[modules]\n[output]\ndir = "generated"\n' + "".join(f"[[generators]]\n{table}\n" for table in tables)
    return decode_config(text.encode(), project.config_file)


def inputs(config: Config) -> Inputs:
    return inputs_of(config, Disk(), Pinner(Contents(Disk())), Interpreter([Path(entry) for entry in sys.path]))


def test_without_generators_nothing_is_looked_at(project: RealProject) -> None:
    assert inputs(config_of(project)) == Inputs()


def test_sources_and_further_paths_are_watched(project: RealProject) -> None:
    command = (
        'command = ["t"]\nsources = ["protos/**/*.proto", "protos/c.txt", "*.x"]\nwatch = ["protos/none", "/etc/x"]'
    )
    found = inputs(config_of(project, command))
    root = project.root
    assert found.paths == tuple(
        sorted([root / "protos", root / "protos/c.txt", root, root / "protos/none", Path("/etc/x")])
    )
    assert (found.helpers, found.candidates, found.problem) == ((), (), None)


@pytest.mark.parametrize(("argument", "watched"), [("{source}", True), ("{stage}", False)], ids=["used", "not used"])
def test_the_import_path_is_watched_if_it_is_the_source(project: RealProject, argument: str, watched: bool) -> None:
    found = inputs(config_of(project, f'command = ["t", "{argument}"]'))
    assert found.paths == ((project.root,) if watched else ())


def test_a_link_is_watched_with_what_it_leads_to(project: RealProject) -> None:
    (project.root / "link").symlink_to("protos")
    found = inputs(config_of(project, 'command = ["t"]\nwatch = ["link"]'))
    assert found.paths == (project.root / "protos",)
    assert found.candidates == (project.root / "link",)


def test_the_modules_that_a_function_leads_to_are_watched(project: RealProject) -> None:
    found = inputs(config_of(project, 'use = "gen.make:run"'))
    assert found.helpers == tuple(project.root / "gen" / name for name in ("__init__.py", "make.py", "words.py"))
    assert project.root / "gen" / "make" / "__init__.py" in found.candidates, "it would go before make.py"


def test_a_function_whose_module_is_missing_is_named_and_its_places_watched(project: RealProject) -> None:
    found = inputs(config_of(project, 'command = ["t"]', 'use = "gone.make:run"'))
    assert found.problem is not None
    assert (found.problem.file, found.problem.field) == (project.config_file, "generators[1].use")
    assert '"gone.make"' in found.problem.problem
    assert f'"gone" was looked for in:\n  {project.root}\n' in "".join(found.problem.__notes__)
    assert project.root / "gone" / "make.py" in found.candidates


def sources(project: RealProject, entries: str) -> list[str]:
    config = config_of(project, f'command = ["t", "{{source}}"]\n{entries}')
    found = expand_sources(config, config.generators[0])
    return [path.relative_to(project.root).as_posix() for path in found]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("", ["."]),
        ('sources = ["protos/c.txt", "protos/*.proto"]', ["protos/c.txt", "protos/a.proto"]),
        ('sources = ["**/*.proto"]', ["protos/a.proto", "protos/deep/b.proto"]),
        ('sources = ["protos", "./protos/../protos", "proto?"]', ["protos"]),
        ('sources = ["*.none"]', []),
    ],
    ids=["left out: the import path", "in the config's order", "never what was generated", "once", "an empty glob"],
)
def test_the_sources_of_a_command(project: RealProject, entries: str, expected: list[str]) -> None:
    assert sources(project, entries) == expected


def test_a_source_that_does_not_exist_is_named_with_its_field(project: RealProject) -> None:
    with pytest.raises(ConfigError) as caught:
        sources(project, 'sources = ["protos/*", "protos/none.proto"]')
    assert caught.value.field == "generator.sources[1]"
    assert f"{project.root / 'protos/none.proto'} does not exist; expected a file or a directory" in str(caught.value)


def test_a_field_is_named_by_its_place(project: RealProject) -> None:
    config = config_of(project, 'command = ["t"]', 'command = ["t"]')
    assert [field_of(config, each, "x") for each in config.generators] == ["generators[0].x", "generators[1].x"]
