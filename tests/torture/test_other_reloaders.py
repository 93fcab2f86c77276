"""Sessions in programs that other tools restart: told to leave lastgood's files alone, and not told."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from served_programs import Served, pricing, served

pytestmark = pytest.mark.torture

FASTAPI = """
import os
from contextlib import asynccontextmanager

import lastgood
from fastapi import FastAPI, Request

VERSION = 0

@asynccontextmanager
async def own(app):
    with open(os.environ["STARTS"], "a") as starts:
        print(os.getpid(), file=starts)
    yield

app = FastAPI(lifespan=lastgood.watch().lifespan(own))

@app.get("/")
async def root(request: Request):
    from generated import pricing

    stale = request.state.lastgood.status.stale
    return {"price": await pricing.price(), "pid": os.getpid(), "stale": stale, "version": VERSION}
"""

STARTING = """
session = lastgood.watch().start()
with open(os.environ["STARTS"], "a") as starts:
    print(os.getpid(), file=starts)
"""

ANSWER = """
VERSION = 0

def answer():
    from generated import pricing

    return {"price": pricing.price(), "pid": os.getpid(), "stale": session.status.stale, "version": VERSION}
"""

FLASK = f"""
import os

import lastgood
from flask import Flask
from werkzeug.serving import is_running_from_reloader

if is_running_from_reloader():{STARTING.replace(chr(10), chr(10) + "    ")}
{ANSWER}
app = Flask(__name__)
app.get("/")(answer)
"""
FLASK_STAT = f"""{FLASK}
if __name__ == "__main__":
    app.run(debug=True, port=int(os.environ["PORT"]), reloader_type="stat", exclude_patterns=[EXCLUDED])
"""

PLAIN = f"""
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import lastgood
{ANSWER}
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(answer()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

if __name__ == "__main__":
    {STARTING.replace(chr(10), chr(10) + "    ")}
    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

MANAGE = """
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    DEBUG=True, SECRET_KEY="-", ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["shop.apps.Shop"], USE_TZ=True
)
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
URLS = """
from django.http import JsonResponse
from django.urls import path
from shop import apps

urlpatterns = [path("", lambda request: JsonResponse(apps.answer()))]
"""
DJANGO = f"""
import os
from pathlib import Path

import lastgood
from django.apps import AppConfig
from django.utils.autoreload import file_changed

GENERATED = Path(__file__).resolve().parents[1] / "generated"
{ANSWER}
def is_generated(sender, file_path, **kwargs):
    return file_path.is_relative_to(GENERATED)

class Shop(AppConfig):
    name = "shop"

    def ready(self):
        global session
        if os.environ.get("RUN_MAIN") == "true":
            TELL
            {STARTING.replace(chr(10), chr(10) + " " * 12)}
"""


@dataclass(frozen=True)
class Tool:
    """``told`` is added to the command, and ``code`` put in the place of the first of the pair, to have it leave files alone."""

    needs: str
    app: str
    files: Mapping[str, str]
    command: str
    told: str = ""
    untold: str = ""
    code: tuple[str, str, str] = ("", "", "")
    style: str = "sync"


PATTERNS = ("*/.lastgood/*", "*/generated/*", "*/pricing.py")
INSTALLED = "*/lib/python3*"  # watchdog watches all that is on sys.path
WEB = {"web/app.py": FASTAPI, "web/__init__.py": ""}
SHOP = {"manage.py": MANAGE, "urls.py": URLS, "shop/apps.py": DJANGO, "shop/__init__.py": ""}
TOOLS = {
    "uvicorn": Tool(
        "uvicorn",
        "app.py",
        {"app.py": FASTAPI},
        "uvicorn app:app --reload --port {port}",
        "--reload-exclude 'generated/*' --reload-exclude pricing.py",
        style="async",
    ),
    "fastapi": Tool(
        "fastapi_cli", "web/app.py", WEB, "fastapi dev web/app.py --port {port}", "--reload-dir web", style="async"
    ),
    "flask": Tool(
        "watchdog",
        "app.py",
        {"app.py": FLASK},
        "flask run --debug --port {port}",
        f"--exclude-patterns '{':'.join((*PATTERNS, INSTALLED))}'",
        f"--exclude-patterns '{INSTALLED}'",
    ),
    "flask-stat": Tool(
        "flask",
        "app.py",
        {"app.py": FLASK_STAT},
        "python app.py",
        code=("EXCLUDED", str(PATTERNS)[1:-1], ""),
    ),
    "django": Tool(
        "django",
        "shop/apps.py",
        SHOP,
        "python manage.py runserver {port}",
        code=("TELL", "file_changed.connect(is_generated)", "pass"),
    ),
    "watchfiles": Tool(
        "watchfiles",
        "app.py",
        {"app.py": PLAIN},
        "watchfiles 'python app.py' .",
        "--ignore-paths .lastgood,generated,pricing.py",
        "--filter python --ignore-paths generated",
    ),
}


def run(tool: Tool, directory: Path, *, is_told: bool) -> AbstractContextManager[Served]:
    """Run the app of a tool under it."""
    pytest.importorskip(tool.needs, reason="it is in the extra 'reloaders'")
    mark, told, untold = tool.code
    files = {
        name: text.replace(mark, told if is_told else untold) if mark else text for name, text in tool.files.items()
    }
    command = f"{tool.command} {tool.told if is_told else tool.untold}"
    return served(directory, files, shlex.split(command), tool.style)


def edit_app(program: Served, tool: Tool, version: int) -> tuple[int, int]:
    """Save the app's own file in this version. Return the process that runs it, and how often it had to be saved."""
    text = (program.project.root / tool.app).read_text().replace(f"VERSION = {version - 1}", f"VERSION = {version}")
    saves: list[Path] = []

    def save() -> None:
        saves.append(program.project.save(tool.app, text))

    save()
    return program.until(lambda answer: answer["version"] == version, again=save)["pid"], len(saves)


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_one_that_is_told_so_restarts_for_the_app_alone(tool: Tool, tmp_path: Path) -> None:
    with run(tool, tmp_path, is_told=True) as program:
        first = program.until_price(1)
        program.project.save("pricing.py", pricing(2) + "def more() -> None: ...\n")
        assert program.until_price(2) == first
        program.project.save("pricing.py", "def price(:\n")
        stale = program.until(lambda answer: answer["stale"])
        assert (stale["price"], stale["pid"]) == (2, first)
        program.project.save("pricing.py", pricing(3))
        assert program.until_price(3) == first
        second, saves = edit_app(program, tool, 1)
        program.until_price(3)
        assert (program.starts[0], second in program.starts[1:]) == (first, True)
        assert len(program.starts) <= 1 + saves, program.starts
        assert "AlreadyWatched" not in program.out
        program.interrupt()


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_one_that_is_not_told_restarts_and_nothing_breaks(tool: Tool, tmp_path: Path) -> None:
    with run(tool, tmp_path, is_told=False) as program:
        program.until_price(1)
        program.project.save("pricing.py", pricing(2) + "def more() -> None: ...\n")
        program.until_price(2)
        _, saves = edit_app(program, tool, 1)
        program.until_price(2)
        last, more = edit_app(program, tool, 2)
        # One for the first wrappers, one for the edit, one for the wrappers that follow from it, and those for the app.
        assert len(program.starts) <= 1 + 1 + 2 + saves + more, program.starts
        assert last in program.starts
        assert len({*program.starts}) == len(program.starts)
        assert "AlreadyWatched" not in program.out
        program.interrupt()


TESTS = """
import os

import lastgood

def test_price():
    with lastgood.watch():
        from generated import pricing

        price = pricing.price()
    with open(os.environ["STARTS"], "a") as starts:
        print(price, file=starts)
"""


@pytest.mark.parametrize("told", ["--ignore-patterns '*/generated/*'", ""], ids=["told", "not told"])
def test_pytest_watcher_runs_the_tests_of_what_was_edited(told: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_watcher", reason="it is in the extra 'reloaders'")
    command = shlex.split(f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 ptw . --now {told} -- -p no:cacheprovider")
    with served(tmp_path, {"test_shop.py": TESTS, "conftest.py": ""}, command) as program:
        program.until_started(1)
        edits: list[Path] = []
        for price in (2, 3):

            def save(price: int = price) -> None:  # it overlooks what is saved while tests run
                edits.append(program.project.save("pricing.py", pricing(price) + "def more() -> None: ...\n"))

            save()
            program.until_started(price, save)
        assert sorted({*program.starts}) == [1, 2, 3]
        assert len(program.starts) <= 1 + len(edits) + (0 if told else 2), "it runs them without end"
        assert "failed" not in program.out
        program.interrupt()
