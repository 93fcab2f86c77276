"""lastgood in Pyodide, under node and in a browser: a walk through what works and what is refused there, and the example's page.

The npm package ``pyodide`` is at ``LASTGOOD_PYODIDE``, else in ``node_modules`` of this repository or above it
(``npm install pyodide@314``); node is ``LASTGOOD_NODE``, else the one on the PATH; the browser is ``LASTGOOD_CHROMIUM``, else a
Chromium on the PATH. Wheels come from the package index.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from chromium import Browser, find_chromium
from shipped import EXAMPLES

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BROWSER = EXAMPLES / "browser"


@pytest.fixture(scope="module")
def package() -> Path:
    """The directory of the npm package."""
    near = [above / "node_modules" / "pyodide" for above in (BROWSER, ROOT, *ROOT.parents)]
    named = os.environ.get("LASTGOOD_PYODIDE")
    for place in [Path(named)] if named else near:
        if (place / "pyodide.mjs").exists():
            return place
    pytest.skip("the npm package pyodide is not there: npm install pyodide@314")


@pytest.fixture(scope="module")
def node() -> str:
    found = os.environ.get("LASTGOOD_NODE") or shutil.which("node")
    return found or pytest.skip("node is not there")


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example puts together: the page, Pyodide, wheels of this lastgood and of what it needs."""
    into = tmp_path_factory.mktemp("site")
    command: list[str | Path] = [sys.executable, BROWSER / "prepare.py", into, "--pyodide", package, "--lastgood", ROOT]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution" in made.stderr:
        pytest.skip(f"not all wheels for Pyodide can be had: {made.stderr.strip()[-300:]}")
    assert made.returncode == 0, made.stderr
    return into


@pytest.fixture(scope="module")
def wheels(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of this lastgood, and of everything that its metadata ask for in Pyodide, and micropip."""
    into = tmp_path_factory.mktemp("wheels")
    lock = json.loads((package / "pyodide-lock.json").read_text())
    micropip = f"micropip=={lock['packages']['micropip']['version']}"
    runpy.run_path(str(BROWSER / "prepare.py"))["fetch_wheels"](package, into, str(ROOT), micropip)
    return into


def test_what_works_there_and_what_is_refused(package: Path, node: str, wheels: Path) -> None:
    command: list[str | Path] = [node, HERE / "run.mjs", package, wheels, HERE / "checks.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.endswith("all of it holds\n")
    print(done.stdout)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    found = find_chromium() or pytest.skip("Chromium is not there: apt-get install chromium")
    with Browser(found, tmp_path / "profile") as browser:
        yield browser


SHOWN = """new Promise((shown) => {
  const look = () => {
    if (!document.querySelector("#save").disabled) shown(document.querySelector("%s").textContent);
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
  look();
})"""
GOOD = "live\n3 of apple: {} (a Quote)\n  rising: {}\n  rising: {}\n  rising: {}"


def test_the_page_of_the_example_lives_through_a_good_a_broken_and_a_mended_edit(
    address: str, browser: Browser
) -> None:
    def save(old: str, new: str) -> str:
        source = "document.querySelector('#source')"
        browser.run(f"{source}.value = {source}.value.replace({json.dumps(old)}, {json.dumps(new)})")
        browser.run("document.querySelector('#save').click()")
        shown: str = browser.run(SHOWN % "#shown")
        return shown

    browser.open(address)
    first, second = GOOD.format("1.20", "0.40", "0.80", "1.20"), GOOD.format("1.50", "0.50", "1.00", "1.50")
    assert browser.run(SHOWN % "#shown") == first
    assert save("0.40", "0.50") == second
    assert "quantity: int = 1" in browser.run("document.querySelector('#wrapper').textContent")
    stale = save("int = 1) ->", "int = 2) -")
    assert stale.startswith("STALE: Generation failed for 1 module(s):\n  pricing (/project/pricing.py:15): ")
    assert stale.endswith(second.removeprefix("live"))
    browser.run("document.querySelector('#ship').click()")
    assert browser.run(SHOWN % "#shipped") == second.removeprefix("live\n")
    stale = save("int = 2) -", "int = 2 // 1) ->\n    return undefined\nundefined\ndef later() ->")
    assert "STALE" in stale
    assert save("\n    return undefined\nundefined\ndef later() ->", "") == second
    assert "quantity: int = 2" in browser.run("document.querySelector('#wrapper').textContent")


def test_what_works_and_what_is_refused_in_a_browser(address: str, browser: Browser) -> None:
    browser.open(f"{address}wheels.json")
    checks = json.dumps((HERE / "checks.py").read_text())
    printed = browser.run(
        f"""(async () => {{
            const {{ load }} = await import("/load.mjs");
            const pyodide = await load();
            const lines = [];
            pyodide.setStdout({{ batched: (line) => lines.push(line) }});
            pyodide.FS.writeFile("/checks.py", {checks});
            await pyodide.runPythonAsync("import sys; sys.path.append('/'); import checks; await checks.main()");
            return lines.join("\\n");
        }})()"""
    )
    assert printed.endswith("all of it holds")
    assert "of async sources, by stack switching" in printed
    print(printed)
