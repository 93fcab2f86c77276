"""``lastgood doctor``: looks at everything that a session needs, and says what to do where something is missing.

Nothing is changed; what is tried is tried in a directory of its own below ``.lastgood/``, which is removed again. No module of the
user's is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from lastgood.cli.doctor.findings import Finding, State, found_out
from lastgood.cli.doctor.machine import Said, inotify, open_files, processes, versions
from lastgood.cli.doctor.project import Examined, interpreter, modules, the_config, worker, wrappers
from lastgood.cli.doctor.surroundings import git, permissions, session, watching

__all__ = ["CHECKS", "Finding", "State", "examine"]


CHECKS: Mapping[str, Callable[[Examined], Said]] = {
    "interpreter": interpreter,
    "worker": worker,
    "modules": modules,
    "session": session,
    "wrappers": wrappers,
    "permissions": permissions,
    "watching": watching,
    "git": git,
}
"""The checks of a project whose config is valid, in order: a later one may need what an earlier one has found."""


def examine(config_file: Callable[[], Path]) -> Iterator[Finding]:
    """Yield what each check has found, one after another. ``config_file()`` returns the config; it may raise what a check tells."""
    yield from found_out("versions", versions)
    examined = Examined()
    yield from found_out("config", partial(the_config, examined, config_file))
    try:
        for name, check in CHECKS.items() if examined.config is not None else ():
            yield from found_out(name, partial(check, examined))
        yield from found_out("inotify", partial(inotify, examined.directories))
    finally:
        examined.release()
    yield from found_out("open files", open_files)
    yield from found_out("processes", processes)
