"""An MCP server on stdio whose tools are the functions of tools.py, which can be edited while a client is connected.

``pip install 'mcp>=2'``, and enter ``python /path/to/server.py`` in your client. An edit of tools.py is live in the next call; one
that changes names, parameters or descriptions is announced to the client. Break it: the last good tools go on.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")

bus = InMemorySubscriptionBus()
server = MCPServer("pricing", subscriptions=bus, log_level="WARNING")
offered: set[str] = set()


def offer_tools() -> None:
    """Register each function of the wrapper as a tool, in place of those that were registered before."""
    from generated import tools

    while offered:
        server.remove_tool(offered.pop())
    for name, function in inspect.getmembers(tools, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            server.add_tool(function)
            offered.add(name)


async def announce_changes(session: lastgood.Session) -> None:
    """Register the tools again when an edit has changed a wrapper: names, parameters, types or docstrings."""
    async for event in session.events():
        if isinstance(event, lastgood.ReloadSuccess) and event.touched:
            offer_tools()
            await bus.publish(ToolsListChanged())


async def main() -> None:
    """Serve until the client goes. Failed reloads are logged, which goes to stderr: stdout belongs to the protocol."""
    async with lastgood.watch(CONFIG) as session:
        offer_tools()
        announcing = asyncio.create_task(announce_changes(session))
        await server.run_stdio_async()
        announcing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
