"""``lastgood status``: what the sessions of a project are doing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from lastgood.interpreters.project import Project
    from lastgood.planner.news import News

__all__ = ["LIVE", "NONE_RUNS", "STALE", "show_status"]

LIVE = 0
STALE = 4
NONE_RUNS = 5


def show_status(project: Project, console: Console, config: Path, base: Path) -> tuple[int, dict[str, Any]]:
    """Print what the sessions of ``project`` are doing; return the exit status, and the same as data for JSON.

    ``config`` is shown relative to ``base``.
    """
    from lastgood.interpreters.leading import running_session
    from lastgood.session.event_lines import nearby

    found = running_session(project)
    if found is None:
        console.print(f"No session of {nearby(config, base)} runs.")
        return NONE_RUNS, {"running": False}
    record, followers = found
    news = record.news
    live = f"generation {news.generation} is live" if news.good is not None else "nothing is live yet"
    others = f"; followed by process {', '.join(map(str, followers))}" if followers else ""
    console.print(f"{nearby(config, base)}: {live}, kept by the session of process {record.pid}{others}")
    failure = news.failure
    if failure is not None:
        console.print(f"STALE since {_moment(failure.since)}: {failure.type_name}: {failure.message}", style="red")
    return LIVE if news.good is not None and failure is None else STALE, _data(news, record.pid, followers)


def _data(news: News, pid: int, followers: tuple[int, ...]) -> dict[str, Any]:
    failure = news.failure
    return {
        "running": True,
        "pid": pid,
        "followers": list(followers),
        "generation": news.generation,
        "cycle": news.cycle,
        "stale": failure is not None,
        "since": None if failure is None else failure.since,
        "error": None if failure is None else {"type": failure.type_name, "message": failure.message},
    }


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
