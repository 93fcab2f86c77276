"""lastgood.interpreters.staging: the requests of a stage, and its result, on files in memory."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from lastgood.config import decode_config, load_config
from lastgood.errors import ConfigError, GenerationError, ModuleFailure, PromotionError, UnwatchableModule
from lastgood.interpreters import staging
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project, StageStopped
from lastgood.interpreters.staging import advance, stage, stage_undo
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.finder import Interpreter
from lastgood.sources.snapshots import Reader
from lastgood.store.disk import Disk
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from lastgood.wrappers import Generated

QUOTE = "def quote(sku: str) -> float: ...\n"
GENERATOR = '[generator]\ncommand = ["make-it", "{stage}"]\n'
ALL = WatchSet((Path("/"),))


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.put(Path("/p/pricing.py"), QUOTE.encode())
    configure(files)
    return files


@pytest.fixture
def project(files: MemoryFiles) -> Project:
    return Project(
        files,
        Path("/p/lastgood.toml"),
        (),
        lambda path, read: decode_config(read(path), path),
        lambda _: Interpreter(),
        1,
    )


def configure(files: MemoryFiles, module: str = "pricing", more: str = "") -> None:
    text = f'[modules.{module}]\n[output]\ndir = "generated"\n{more}'
    files.put(Path("/p/lastgood.toml"), text.encode())


def armed_with(work: CycleFiles) -> WatchSet:
    """All that ``work`` will ask to be watched."""
    work.resolve()
    return work.watch


def requests(recipe: staging.Recipe, *answers: object) -> tuple[list[staging.Request], staging.StageResult]:
    """Run a recipe, whose requests get ``answers`` in order (an exhausted list: empty ones)."""
    seen: list[staging.Request] = []
    step = advance(recipe, None)
    while not isinstance(step, staging.StageResult):
        seen.append(step)
        step = advance(recipe, answers[len(seen) - 1] if len(seen) <= len(answers) else {})
    return seen, step


def promoted(work: CycleFiles) -> None:
    work.promote()
    work.commit()
    work.settle(0.0)


def test_a_stage_of_what_is_armed_needs_a_single_step(project: Project) -> None:
    armed = armed_with(CycleFiles(project, 1))
    work = CycleFiles(project, 2)
    assert isinstance(advance(stage(work, armed), None), staging.StageResult)
    assert [*work.staged] == ["__init__.py", "pricing.py"]
    assert work.manifest is not None


def test_a_first_stage_arms_the_config_with_what_it_names_then_what_that_imports(
    project: Project, files: MemoryFiles
) -> None:
    files.put(Path("/p/pricing.py"), b"import rates\n")
    files.put(Path("/p/rates.py"), b"")
    work = CycleFiles(project, 1)
    seen, _ = requests(stage(work, None), {Path("/p/a"): {Path("/p/a"): "1"}}, {Path("/p/b"): {Path("/p/b"): "2"}})
    assert [step.watch.paths for step in seen if isinstance(step, staging.Arm)] == [
        (Path("/p/lastgood.toml"), Path("/p/pricing.py")),
        (Path("/p/lastgood.toml"), Path("/p/pricing.py"), Path("/p/rates.py")),
    ]
    assert {*work.read} == {Path("/p/a"), Path("/p/b")}


def test_a_first_stage_whose_modules_are_not_found_arms_the_config_then_where_they_may_be(
    project: Project, files: MemoryFiles
) -> None:
    configure(files, "missing")
    recipe = stage(CycleFiles(project, 1), None)
    assert advance(recipe, None) == staging.Arm(project.always_watched)
    asked = advance(recipe, {})
    assert isinstance(asked, staging.Arm)
    assert Path("/p/missing.py") in asked.watch.candidates


def test_where_nothing_is_watched_nothing_is_armed(project: Project) -> None:
    assert requests(stage(CycleFiles(project, 1), None, watches=False))[0] == []


def test_what_is_armed_is_resolved_again_with_what_was_saved_meanwhile(project: Project, files: MemoryFiles) -> None:
    work = CycleFiles(project, 1)
    recipe = stage(work, None)
    advance(recipe, None)
    asked = advance(recipe, {})
    assert isinstance(asked, staging.Arm)
    files.put(Path("/p/pricing.py"), QUOTE.replace("sku", "code").encode())
    assert isinstance(advance(recipe, Reader(project.contents).read(asked.watch)), staging.StageResult)
    assert b"code: str" in work.texts["pricing.py"]


def test_a_missing_module_is_an_error_only_when_what_is_left_was_claimed(project: Project, files: MemoryFiles) -> None:
    requests(stage(CycleFiles(project, 1), None, watches=False))
    project.release()
    configure(files, "missing")
    work = CycleFiles(project, 2)
    with pytest.raises(UnwatchableModule, match="missing"):
        requests(stage(work, None))
    assert work.output is not None


def test_a_kept_file_that_goes_while_it_is_staged_is_written_anew(project: Project, files: MemoryFiles) -> None:
    requests(stage(CycleFiles(project, 1), ALL))

    def gone(operation: str, path: Path) -> None:
        if operation == "link":
            raise FileNotFoundError(2, "No such file or directory", str(path))

    files.before = gone
    work = CycleFiles(project, 2)
    requests(stage(work, ALL))
    assert work.stage is not None
    assert files.children(work.stage) == ["__init__.py.staged", "pricing.py.staged"]


def test_a_stage_that_cannot_be_removed_is_left_alone(project: Project, files: MemoryFiles) -> None:
    work = CycleFiles(project, 1)
    requests(stage(work, ALL))
    files.put(left := work.home / "stage-2" / "left", b"")

    def stuck(operation: str, path: Path) -> None:
        if (operation, path) == ("unlink", left):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    files.before = stuck
    later = CycleFiles(project, 2)
    requests(stage(later, ALL))
    promoted(later)
    assert files.is_file(left)


def test_an_output_directory_that_would_hide_a_source_is_refused(project: Project, files: MemoryFiles) -> None:
    files.put(Path("/p/generated.py"), QUOTE.encode())
    configure(files, "generated")
    with pytest.raises(ConfigError, match="is a source") as caught:
        requests(stage(CycleFiles(project, 1), ALL))
    assert caught.value.field == "output.dir"


def test_a_syntax_error_names_the_python_that_read_it_and_the_workers(files: MemoryFiles) -> None:
    configure(files)
    files.put(Path("/p/pricing.py"), b"type Money = = int\n")
    project = Project(
        files,
        Path("/p/lastgood.toml"),
        (),
        lambda path, read: decode_config(read(path), path),
        lambda _: Interpreter(version=(3, 99)),
        1,
    )
    with pytest.raises(GenerationError, match=r"invalid syntax \(read by the worker's Python 3\.99\)"):
        requests(stage(CycleFiles(project, 1), None))


# --- what others generate, on a disk ------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Project:
    (tmp_path / "pricing.py").write_text(QUOTE)
    config = tmp_path / "lastgood.toml"
    config.write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    return Project(Disk(), config, (), load_config, lambda _: Interpreter(), 1)


def generated_by(hook: staging.Recipe, work: CycleFiles, text: str) -> list[type]:
    """The types of the requests of a stage with a ``generate()`` that makes one file."""
    asked = advance(hook, None)
    assert isinstance(asked, staging.Generate)
    (asked.stage / "own.py").write_text(text)
    seen: list[type] = [staging.Generate]
    step = advance(hook, Generated(("own.py",)))
    while not isinstance(step, staging.StageResult):
        seen.append(type(step))
        step = advance(hook, ())
    assert work.texts == {"own.py": text.encode()}
    return seen


def test_what_the_users_generate_made_is_checked_once(real: Project) -> None:
    for number, (text, expected) in enumerate(
        [
            ("x = 1\n", [staging.Generate, staging.Check]),
            ("x = 1\n", [staging.Generate]),
            ("x = 2\n", [staging.Generate, staging.Check]),
        ]
    ):
        work = CycleFiles(real, number)
        assert generated_by(stage(work, None, watches=False, custom=True), work, text) == expected
        work.discard()


def test_a_failed_check_is_an_error_and_is_made_again(real: Project) -> None:
    for number in range(2):
        work = CycleFiles(real, number)
        recipe = stage(work, None, watches=False, custom=True)
        asked = advance(recipe, None)
        assert isinstance(asked, staging.Generate)
        (asked.stage / "own.py").write_text("x = 1\n")
        assert isinstance(advance(recipe, Generated(("own.py",))), staging.Check)
        with pytest.raises(GenerationError, match="it does not import"):
            advance(recipe, (ModuleFailure("own", None, 1, "it does not import"),))
        work.discard()


def test_generators_are_run_after_the_wrappers_are_made(real: Project) -> None:
    real.config_file.write_text(f"{real.config_file.read_text()}{GENERATOR}")
    work = CycleFiles(real, 1)
    recipe = stage(work, None, watches=False)
    asked = advance(recipe, None)
    assert isinstance(asked, staging.RunGenerators)
    assert {*asked.taken} == {"__init__.py", "pricing.py"}
    (asked.stage / "data.json").write_text("{}")
    check = advance(recipe, Generated(("data.json",), ("made by hand",)))
    assert check == staging.Check(asked.stage, "generated", set(), ("data.json",)), (
        "it is not known how they are imported"
    )
    result = advance(recipe, ())
    assert isinstance(result, staging.StageResult)
    assert result.warnings == ("made by hand",)
    assert [*work.staged] == ["__init__.py", "data.json", "pricing.py"]
    work.discard()


def test_what_is_staged_from_what_is_kept_is_promoted_as_a_file_of_its_own(real: Project) -> None:
    """An edit of the output in place would change the kept generation otherwise."""
    source = real.config_file.parent / "pricing.py"
    for number, text in enumerate([QUOTE, QUOTE.replace("sku", "code"), QUOTE], 1):
        source.write_text(text)
        work = CycleFiles(real, number)
        requests(stage(work, None, watches=False))
        promoted(work)
    assert work.texts["pricing.py"] == (work.output_directory.path / "pricing.py").read_bytes()
    assert (work.output_directory.path / "pricing.py").stat().st_nlink == 1
    real.release()


def test_a_lock_that_was_removed_is_let_go_for_a_new_one(real: Project) -> None:
    first = CycleFiles(real, 1)
    requests(stage(first, None, watches=False))
    lock = first.output_directory.lock
    shutil.rmtree(first.home)
    work = CycleFiles(real, 2)
    requests(stage(work, None, watches=False))
    assert isinstance(lock, FileLock)
    assert not lock.is_locked
    assert Disk().lock(work.home / "lock") is None, "the new one is held"
    real.release()


def test_a_dry_stage_makes_the_same_texts_and_writes_nothing(real: Project) -> None:
    real.config_file.write_text(f"{real.config_file.read_text()}{GENERATOR}")
    before = sorted(real.config_file.parent.rglob("*"))
    texts = []
    for dry in (True, False):
        work = CycleFiles(real, 1, dry=dry)
        recipe = stage(work, None, watches=False)
        asked = advance(recipe, None)
        assert isinstance(asked, staging.RunGenerators)
        (asked.stage / "data.json").write_text("{}")
        advance(recipe, Generated(("data.json",)))
        if dry:
            assert isinstance(advance(recipe, ()), staging.StageResult)
            assert sorted(real.config_file.parent.rglob("*")) == before
        texts.append(work.texts)
        work.discard()
    assert texts[0] == texts[1]


# --- histories and ends -------------------------------------------------------------------------------------------


def test_a_stage_says_whether_an_undo_could_go_back_and_what_has_changed(project: Project, files: MemoryFiles) -> None:
    results = []
    for number, text in enumerate([QUOTE, QUOTE, QUOTE.replace("sku", "code"), QUOTE.replace("sku", "code")], 1):
        files.put(Path("/p/pricing.py"), text.encode())
        Reader(project.contents).read(
            project.always_watched if project.resolution is None else project.resolution.watch
        )
        work = CycleFiles(project, number)
        results.append(requests(stage(work, ALL))[1])
        promoted(work)
    assert [each.previous for each in results] == [False, False, True, False]
    assert [len(each.changes) for each in results] == [0, 0, 1, 0]


def test_a_generation_that_is_equal_to_the_last_good_one_of_an_earlier_session_replaces_it(
    project: Project, files: MemoryFiles
) -> None:
    for number, text in enumerate([QUOTE, QUOTE.replace("sku", "code")], 1):
        files.put(Path("/p/pricing.py"), text.encode())
        work = CycleFiles(project, number)
        requests(stage(work, ALL))
        promoted(work)
    store = project.store(work.output_directory)
    assert len(store.history()) == 2
    project.release()
    later = Project(project.files, project.config_file, (), project.load, project.ask_interpreter, 2)
    work = CycleFiles(later, 1)
    requests(stage(work, ALL))
    promoted(work)
    assert len(later.store(work.output_directory).history()) == 2


def moved(project: Project, files: MemoryFiles) -> tuple[CycleFiles, CycleFiles]:
    """A cycle that is over, and a later one with another output directory, which is committed."""
    first = CycleFiles(project, 1)
    requests(stage(first, ALL))
    promoted(first)
    files.put(project.config_file, files.read(project.config_file).replace(b"generated", b"other"))
    work = CycleFiles(project, 2)
    requests(stage(work, ALL))
    work.promote()
    work.commit()
    return first, work


def test_a_former_output_directory_is_emptied_once(project: Project, files: MemoryFiles) -> None:
    first, work = moved(project, files)
    manifest = files.read(first.home / "manifest.json")
    assert work.output_directory.former() is not None
    work.settle(0.0)
    assert files.children(first.output_directory.path) == []
    files.put(first.home / "manifest.json", manifest)  # another session has written the same files there
    assert work.output_directory.former() is None


def test_a_former_output_directory_that_cannot_be_emptied_stays_as_it_is(project: Project, files: MemoryFiles) -> None:
    first, work = moved(project, files)
    last = first.output_directory.path / "pricing.py"

    def refuse(operation: str, path: Path) -> None:
        if operation == "unlink" and path == last:
            raise PermissionError(1, "Operation not permitted", str(path))

    files.before = refuse
    with pytest.raises(PromotionError, match="Operation not permitted"):
        work.settle(0.0)
    assert files.children(first.output_directory.path) == ["__init__.py", "pricing.py"]
    assert work.output_directory.former() is not None, "the next start empties it"


def test_a_former_output_directory_that_another_session_uses_is_left_to_it(
    project: Project, files: MemoryFiles
) -> None:
    first, _ = moved(project, files)
    project.release()
    another = OutputDirectory.claim(files, first.output_directory.path, 3)
    later = Project(files, project.config_file, (), project.load, project.ask_interpreter, 2)
    work = CycleFiles(later, 1)
    requests(stage(work, ALL))
    assert work.output_directory.former() is not None
    promoted(work)
    assert files.children(another.path) == ["__init__.py", "pricing.py"]


def test_an_undo_stages_what_was_kept_and_arms_it(project: Project, files: MemoryFiles) -> None:
    for number, text in enumerate([QUOTE, QUOTE.replace("sku", "code")], 1):
        files.put(Path("/p/pricing.py"), text.encode())
        work = CycleFiles(project, number)
        requests(stage(work, ALL))
        promoted(work)
    work = CycleFiles(project, 3)
    seen, result = requests(stage_undo(work, ALL))
    assert seen == [staging.Arm(work.watch)]
    assert b"sku: str" in work.texts["pricing.py"]
    assert len(result.changes) == 1
    assert not result.previous


def test_a_stage_that_is_stopped_ends_at_its_next_step(project: Project) -> None:
    work = CycleFiles(project, 1)
    recipe = stage(work, None)
    advance(recipe, None)
    project.stop()
    with pytest.raises(StageStopped):
        advance(recipe, {})
    project.begin_stage()
    assert isinstance(requests(stage(CycleFiles(project, 2), ALL))[1], staging.StageResult)
