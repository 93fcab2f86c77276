"""What docs/how-to/serve.md shows is served: the app of each framework, an edit of it, and a program with a ServerBridge."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from page_blocks import BLOCKS
from real_project import DEADLINE
from running import Running, run

PAGE = "docs/how-to/serve.md"
FILES = {block.what: block.text for block in BLOCKS if block.page == PAGE and block.kind == "file"}
FRAMEWORKS = {
    "main.py": ("fastapi",),
    "starlette_app.py": ("starlette",),
    "litestar_app.py": ("litestar",),
    "flask_app.py": ("flask", "a2wsgi"),
}
OTHER_ADAPTER = (
    ("from a2wsgi import WSGIMiddleware", "WSGIMiddleware(flask)"),
    (
        "from asgiref.wsgi import WsgiToAsgi",
        "WsgiToAsgi(flask)",
    ),
)
VIEWS = 'from django.http import JsonResponse\n\n\ndef price(request):\n    return JsonResponse({"price": 2.0})\n'


def need(*packages: str) -> None:
    """Skip the test if one of them is missing."""
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[reloaders]'")


def save(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    os.replace(fresh, path)


def serve(root: Path, processes: list[Running], *arguments: str) -> tuple[Running, int]:
    """Start the command, and return it with its port."""
    serving = Running(sys.executable, "-m", "lastgood", "serve", *arguments, "--port", "0", cwd=root)
    processes.append(serving)
    found = re.search(r"http://127.0.0.1:(\d+)", serving.line("serves "))
    assert found is not None
    return serving, int(found[1])


def get(port: int) -> tuple[dict[str, float], str]:
    """The answer, and the header that says which generation it is of."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE) as answer:
        return json.load(answer), answer.headers["Lastgood"]


def live_through_edits(serving: Running, port: int, source: Path) -> None:
    """Edit the price of what is served, break it, and see who answers."""
    text = source.read_text()
    assert "generation 1" in serving.line("live  ")
    assert get(port) == ({"price": 2.0}, "generation=1")
    save(source, text.replace("2.0", "3.0"))
    assert "generation 2" in serving.line("live  ")
    assert get(port) == ({"price": 3.0}, "generation=2")
    save(source, text.replace("2.0}", "4.0"))
    assert "SyntaxError" in serving.line("STALE")
    assert get(port)[0] == {"price": 3.0}
    save(source, text.replace("2.0", "5.0"))
    assert "generation 3" in serving.line("live  ")
    assert get(port) == ({"price": 5.0}, "generation=3")
    assert serving.terminate().status == 0


@pytest.mark.parametrize("file", FRAMEWORKS)
def test_the_app_of_a_framework_lives_through_edits(file: str, tmp_path: Path, processes: list[Running]) -> None:
    need("uvicorn", *FRAMEWORKS[file])
    (tmp_path / file).write_text(FILES[file])
    serving, port = serve(tmp_path, processes, f"{file.removesuffix('.py')}:app")
    live_through_edits(serving, port, tmp_path / file)


def test_flask_by_the_other_adapter(tmp_path: Path, processes: list[Running]) -> None:
    need("uvicorn", "flask", "asgiref")
    text = FILES["flask_app.py"]
    for old, new in zip(*OTHER_ADAPTER, strict=True):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "flask_app.py").write_text(text)
    serving, port = serve(tmp_path, processes, "flask_app:app")
    live_through_edits(serving, port, tmp_path / "flask_app.py")


def test_a_project_of_django_lives_through_edits(tmp_path: Path, processes: list[Running]) -> None:
    need("uvicorn", "django")
    made = run([sys.executable, "-m", "django", "startproject", "mysite", "."], tmp_path)
    assert (made.status, made.err) == (0, "")
    (config,) = [block.text for block in BLOCKS if block.page == PAGE and "mysite" in block.text]
    (tmp_path / "lastgood.toml").write_text(config)
    (tmp_path / "mysite" / "views.py").write_text(VIEWS)
    urls = tmp_path / "mysite" / "urls.py"
    shown = "from mysite import views\n\nurlpatterns = [path('', views.price)]\n"
    urls.write_text(f"from django.urls import path\n\n{shown}")
    serving, port = serve(tmp_path, processes)
    live_through_edits(serving, port, tmp_path / "mysite" / "views.py")


def test_a_program_serves_an_app(tmp_path: Path, processes: list[Running]) -> None:
    need("uvicorn", "starlette")
    (tmp_path / "main.py").write_text(FILES["starlette_app.py"])
    (tmp_path / "beside.py").write_text(FILES["beside.py"])
    serving = Running(sys.executable, "beside.py", "0", cwd=tmp_path)
    processes.append(serving)
    _, _, port = serving.line("generation 1 at port ").rpartition(" ")
    assert get(int(port)) == ({"price": 2.0}, "generation=1")
