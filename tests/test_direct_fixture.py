"""The fixture of lastgood.testing: one line of a conftest, and wrappers work in every test of a fresh project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lastgood.testing
from lastgood.cli.commands import main
from running import Ran, program_environment

FILES = {
    "lastgood.toml": '[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n',
    "pricing.py": "def quote(sku: str) -> float:\n    return 2.5 * len(sku)\n",
    "shop.py": "from generated import pricing\n\ndef total(skus):\n    return sum(map(pricing.quote, skus))\n",
    "tests/conftest.py": "from lastgood.testing import direct_session  # noqa: F401\n",
    "tests/test_shop.py": (
        "from shop import total\n\ndef test_total():\n    assert total(['a', 'bc']) == 7.5\n\n"
        "def test_without_wrappers(direct_session):\n"
        "    assert direct_session.handle.call_blocking('pricing', 'quote', ['a']) == 2.5\n"
    ),
    "pytest.ini": "[pytest]\npythonpath = .\nfilterwarnings = error\naddopts = -p no:cacheprovider\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = CliRunner().invoke(main, ["generate", str(tmp_path / "project" / "lastgood.toml")])
    assert done.exit_code == 0, done.output
    return tmp_path / "project"


def run_tests(cwd: Path, *arguments: str | Path) -> Ran:
    environment = program_environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.parametrize(("cwd", "argument"), [("", "."), ("tests", "."), ("..", "project/tests")], ids=repr)
def test_wrappers_work_in_every_test(project: Path, cwd: str, argument: str) -> None:
    ran = run_tests(project / cwd, argument)
    assert "2 passed" in ran.out
    assert ran.status == 0


def test_wrappers_can_be_imported_without_a_setting_of_pytest(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider\n")
    ran = run_tests(project)
    assert "2 passed" in ran.out


def test_wrappers_that_were_never_generated_are_an_error_that_says_what_to_run(project: Path) -> None:
    shutil.rmtree(project / "generated")
    ran = run_tests(project)
    assert "generated/pricing.py does not exist." in ran.err
    assert 'Write them by "lastgood generate"' in ran.err
    assert ran.status == 4


def test_a_test_that_fails_shows_the_frame_of_the_source(project: Path) -> None:
    (project / "pricing.py").write_text("def quote(sku: str) -> float:\n    price = None\n    return 2.5 * price\n")
    ran = run_tests(project, "-l", "-k", "test_total")
    assert ran.status == 1
    assert ">       return 2.5 * price\n" in ran.out
    assert "price      = None\n" in ran.out
    assert "pricing.py:3: TypeError\n" in ran.out


def test_a_wrapper_that_is_older_than_its_source_is_a_warning_of_the_run(project: Path) -> None:
    (project / "pricing.py").write_text("def quote(sku: str, quantity: int = 1) -> float:\n    return 2.5\n")
    ran = run_tests(project)
    assert "UserWarning" in ran.out
    assert 'quote has other parameters. Run "lastgood generate".' in ran.out
    assert ran.status == 1  # as the project's own filterwarnings say


def test_without_a_config_it_says_where_it_was_looked_for(project: Path) -> None:
    (project / "lastgood.toml").unlink()
    ran = run_tests(project)
    assert f"in {project} or a directory above it" in ran.out
    assert ran.status == 1


def test_the_rest_of_the_module_needs_no_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\nimport lastgood.testing\nassert 'trio' not in sys.modules\n"
        "from lastgood.testing import World\nprint(World.__name__)\n"
        "try: lastgood.testing.direct_session\nexcept ImportError as error: print(error.name)"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=program_environment(), capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("World\npytest\n", "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'lastgood\.testing' has no attribute 'nonsense'"):
        _ = lastgood.testing.nonsense
