"""The MCP server of examples/: its client sees tools and schemas change, in one session."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from diary import Diary
from marked_processes import all_ended, marked, running_with
from real_project import DEADLINE, RealProject
from running import program_environment
from shipped import EXAMPLES

pytestmark = pytest.mark.torture

TOOLS = '''
def quote(sku: str) -> str:
    """What it costs."""
    return f"{sku}: 2.5"
'''
WITH_QUANTITY = '''
def quote(sku: str, quantity: int = 1) -> str:
    """What so many cost."""
    return f"{quantity} {sku}: {2.5 * quantity}"
'''
ANOTHER = '''

def stock(sku: str) -> int:
    """How many there are."""
    return len(sku)
'''


class Client:
    """A client of the server, in its one session."""

    def __init__(self, client: Any, changes: Any) -> None:
        self._client = client
        self._changes = changes

    async def tools(self) -> dict[str, list[str]]:
        """The names of the parameters of each tool, by its name."""
        listed = await self._client.list_tools()
        return {each.name: list(each.input_schema["properties"]) for each in listed.tools}

    async def call(self, tool: str, **arguments: object) -> str:
        result = await self._client.call_tool(tool, arguments)
        assert not result.is_error, result
        return str(result.content[0].text)

    async def list_changed(self) -> None:
        """Wait for the next notification."""
        await anext(self._changes)


class Errors:
    """What the server writes to its stderr."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._stream = trio.lowlevel.FdStream(reading)
        self.file = os.fdopen(writing, "w")
        self.text = ""

    async def until(self, text: str) -> None:
        """Wait until the server has written ``text``."""
        while text not in self.text:
            assert await self._more(), self.text

    async def all(self) -> str:
        """All that it has written, once it has ended."""
        self.file.close()
        while await self._more():
            pass
        await self._stream.aclose()
        return self.text

    async def _more(self) -> bool:
        chunk = await self._stream.receive_some()
        self.text += chunk.decode()
        return bool(chunk)


async def play(diary: Diary, project: RealProject, errors: Errors, client: Client) -> None:
    with diary.step("python server.py has started: the first list, and the first call"):
        assert await client.tools() == {"quote": ["sku"]}
        assert await client.call("quote", sku="apple") == "apple: 2.5"
    diary.first_success()
    with diary.step("an edit adds a parameter: list_changed, its schema, and a call with it"):
        project.save("tools.py", WITH_QUANTITY)
        await client.list_changed()
        assert await client.tools() == {"quote": ["sku", "quantity"]}
        assert await client.call("quote", sku="apple", quantity=3) == "3 apple: 7.5"
        assert await client.call("quote", sku="apple") == "1 apple: 2.5"
    with diary.step("a broken edit: stderr says why, and the tools go on"):
        project.save("tools.py", WITH_QUANTITY.replace("def quote(", "def quote"))
        await errors.until("tools.py:2: ")
        assert await client.tools() == {"quote": ["sku", "quantity"]}
        assert await client.call("quote", sku="apple", quantity=2) == "2 apple: 5.0"
    with diary.step("the edit that mends it, with another tool: list_changed, and a call of that"):
        project.save("tools.py", WITH_QUANTITY + ANOTHER)
        await client.list_changed()
        assert await client.tools() == {"quote": ["sku", "quantity"], "stock": ["sku"]}
        assert await client.call("stock", sku="apple") == "5"
    with diary.step("an edit that changes what a tool does, but nothing of its schema"):
        project.save("tools.py", WITH_QUANTITY.replace("2.5", "3.5") + ANOTHER)
        while await client.call("quote", sku="apple") != "1 apple: 3.5":
            pass
    with diary.step("an edit that removes a tool: the next list_changed is of this one"):
        project.save("tools.py", WITH_QUANTITY)
        await client.list_changed()
        assert await client.tools() == {"quote": ["sku", "quantity"]}


async def test_tools_and_schemas_change_in_one_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mcp = pytest.importorskip("mcp", reason="it is in the extra 'reloaders'")
    stdio = pytest.importorskip("mcp.client.stdio")
    diary = Diary("An MCP server on stdio, from an empty directory", capsys)
    project = RealProject(
        tmp_path / "project", {"tools.py": TOOLS, "server.py": (EXAMPLES / "mcp_server" / "server.py").read_text()}
    )
    project.configure("tools")
    program = stdio.StdioServerParameters(
        command=sys.executable,
        args=["server.py"],
        env=program_environment()
        | marked(tmp_path)
        | {"COLUMNS": "1000"},  # in which its log has a line for each record
        cwd=project.root,
    )
    errors = Errors()
    with trio.fail_after(4 * DEADLINE):
        async with (
            mcp.Client(stdio.stdio_client(program, errlog=errors.file)) as opened,
            opened.listen(tools_list_changed=True) as changes,
        ):
            await play(diary, project, errors, Client(opened, aiter(changes)))
        with diary.step("the end of the session leaves no process"):
            assert all_ended(tmp_path), running_with(tmp_path)
        assert (await errors.all()).count("tools.py") == 1, errors.text
