"""Access to a ``.lastgood/`` directory: whose it may be, and what to run where it cannot be used."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote

from lastgood.errors import ConfigError
from lastgood.store.file_system import FileSystem, place_of

__all__ = ["check_can_be_private", "check_is_own", "explained", "make_private"]

_PRIVATE = 0o700


def check_is_own(files: FileSystem, path: Path, config_file: Path | None) -> None:
    """Raise :class:`ConfigError` if the path is not a directory, or belongs to a user who could not write to the config."""
    status = files.stat(path)
    if status is None:
        return
    if status.kind != "directory":
        what = "is a symbolic link" if status.kind == "link" else "is no directory"
        raise ConfigError(
            f"{path} {what}; lastgood keeps what it has made there.",
            file=config_file,
            hint=f"Run: rm {quote(str(path))}",
        )
    config = None if config_file is None else files.stat(config_file, follow=True)
    if status.owner not in (files.user(), 0, None if config is None else config.owner):
        raise ConfigError(
            f"{path} belongs to another user (uid {status.owner}), who could change what lastgood keeps there.",
            file=config_file,
            hint=f"If nobody needs it, run: rm -r {quote(str(path))}",
        )


def check_can_be_private(files: FileSystem, paths: Iterable[Path], config_file: Path | None) -> None:
    """Raise :class:`ConfigError` for a directory that everybody can write to, if this user cannot change that."""
    for path in paths:
        status = files.stat(path)
        if status is not None and files.user() not in (0, status.owner) and status.mode & 0o002:
            problem = f"{path} belongs to another user (uid {status.owner}), and everybody can write to it."
            raise ConfigError(problem, file=config_file, hint=_regain(path, files.user()))


def make_private(files: FileSystem, path: Path) -> None:
    """Take the access to a directory from all but its owner, if this user can do that."""
    status = files.stat(path)
    if status is not None and status.mode != _PRIVATE and files.user() in (0, status.owner):
        files.chmod(path, _PRIVATE)


@contextlib.contextmanager
def explained(files: FileSystem, around: Path, config_file: Path | None) -> Iterator[None]:
    """Raise :class:`ConfigError`, with what to run, if this user has no access to something in ``around``."""
    try:
        yield
    except PermissionError as error:
        place = place_of(error, around)
        if error.errno != errno.EACCES or not place.is_relative_to(around):
            raise
        if files.stat(around) is None:
            raise _cannot_be_made(files, around, config_file, error) from error
        culprit, is_own = _culprit(files, around, place)
        remedy = f"Run: chmod -R u+rwX {quote(str(culprit))}" if is_own else _regain(culprit, files.user())
        raise ConfigError(f"{culprit} cannot be used: {error.strerror}.", file=config_file, hint=remedy) from error


def _cannot_be_made(files: FileSystem, path: Path, config_file: Path | None, error: OSError) -> ConfigError:
    """Return the error for a directory that cannot be made. What is around it is the user's own, and is not to be removed."""
    parent = path.parent
    status = files.stat(parent, follow=True)
    if status is not None and status.owner == files.user():
        remedy = f"Run: chmod u+rwx {quote(str(parent))}"
    else:
        owner = "" if status is None else f" (uid {status.owner})"
        remedy = f"It belongs to another user{owner}: have it made writable for you, or work in a copy of your own."
    what = f"{path.name} cannot be made in {parent}: {error.strerror}. lastgood keeps what it has made there."
    return ConfigError(what, file=config_file, hint=remedy)


def _culprit(files: FileSystem, around: Path, place: Path) -> tuple[Path, bool]:
    """Return what makes ``place``, in ``around``, inaccessible, and whether it belongs to this user."""
    culprit, is_own = around, True
    for path in (*reversed([each for each in place.parents if each.is_relative_to(around)]), place):
        status = files.stat(path)
        if status is None:
            break
        culprit, is_own = path, status.owner == files.user()
        needed = 0o700 if status.kind == "directory" else 0o600
        if not is_own or status.mode & needed != needed:
            break
    return culprit, is_own


def _regain(path: Path, user: int) -> str:
    name = quote(str(path))
    return f"If lastgood was run as root once, run: sudo chown -R {user} {name}, or: sudo rm -r {name}"
