"""Put together what the page needs: ``python prepare.py SITE``, then ``python -m http.server --directory SITE``.

SITE is a directory that any web server can serve: the page, Pyodide, which ``npm install pyodide@314`` has put into
``node_modules``, and wheels of lastgood and of what it needs there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = ("index.html", "load.mjs", "page.py", "pricing.py")
NEEDED = ("click", "filelock", "msgspec", "returns", "rich")
"""What lastgood needs in Pyodide, which has no use for trio and watchfiles: pip asks for these where it runs."""


def fetch_wheels(pyodide: Path, into: Path, lastgood: str, *more: str) -> None:
    """Have pip fetch wheels for the Pyodide that lies in the directory ``pyodide``; ``lastgood`` is what to install.

    Raises :class:`subprocess.CalledProcessError` if there are none for it.
    """
    about = json.loads((pyodide / "pyodide-lock.json").read_text())["info"]
    version = about["python"].rpartition(".")[0]
    theirs = ["--python-version", version, "--implementation", "cp", "--abi", f"cp{version.replace('.', '')}"]
    theirs += ["--platform", f"pyemscripten_{about['abi_version']}_wasm32", "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "download", "--dest", into, *theirs, *NEEDED, *more], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", into, lastgood], check=True)


def prepare(site: Path, pyodide: Path, lastgood: str) -> None:
    """Make ``site``."""
    (site / "wheels").mkdir(parents=True, exist_ok=True)
    fetch_wheels(pyodide, site / "wheels", lastgood)
    for name in PAGE:
        shutil.copy(HERE / name, site)
    shutil.copytree(pyodide, site / "pyodide", dirs_exist_ok=True)
    (site / "wheels.json").write_text(json.dumps(sorted(path.name for path in (site / "wheels").glob("*.whl"))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--pyodide", type=Path, default=HERE / "node_modules" / "pyodide", help="the npm package")
    parser.add_argument("--lastgood", default="lastgood", help="what pip is to install: a checkout, a wheel")
    arguments = parser.parse_args()
    if not (arguments.pyodide / "pyodide.mjs").exists():
        parser.error(f"there is no Pyodide in {arguments.pyodide}: npm install pyodide@314, or name it by --pyodide")
    prepare(arguments.site, arguments.pyodide, arguments.lastgood)
