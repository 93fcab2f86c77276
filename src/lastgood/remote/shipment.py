"""Shipments: the bytes of a generation that cross to the other side."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

from lastgood.bridges.worker.manifest import Damaged, Manifest, digest_of, object_path
from lastgood.config import Config
from lastgood.errors import BridgeError, ConfigError
from lastgood.remote.host.messages import MAX_OBJECT, packed

__all__ = ["Address", "Shipment"]

_WORKER = Path(__file__).parents[1] / "bridges" / "worker"
_PROJECT = "project"
_NEVER = frozenset(("__pycache__", ".lastgood"))


class _File(Struct, frozen=True):
    """A file on both sides: its path below a directory there, and the file here."""

    name: str
    digest: str
    size: int
    executable: bool
    path: Path

    @property
    def row(self) -> list[str | int | bool]:
        return [self.name, self.digest, self.size, self.executable]


class Address(Struct, frozen=True):
    """A shipment for one host: the message that announces it, and the paths there.

    ``pairs`` are directories here and there; ``import_path`` are those of the local modules there.
    """

    message: bytes
    import_path: list[str]
    pairs: list[tuple[str, str]]

    def there(self, path: str) -> str:
        """Return the path there of a local file."""
        return _moved(path, self.pairs)

    def here(self, path: str) -> str:
        """Return the local path of a file there."""
        return _moved(path, [(there, here) for here, there in self.pairs])

    def text_here(self, text: str) -> str:
        """Return a text, such as a traceback, with the paths that its files have here."""
        for here, there in self.pairs:
            text = text.replace(f"{there}/", f"{here}/")
        return text


def _moved(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    for before, after in pairs:
        if path == before or path.startswith(f"{before.rstrip('/')}/"):
            return after + path[len(before.rstrip("/")) :]
    return path


class Shipment:
    """What the other side needs to run a generation.

    - the manifest of the generation, with the paths that its modules have there;
    - ``objects``: the bytes of the modules, of the files that ``files=`` declares, and of lastgood's own worker package. Only those
      cross that the other side lacks.

    The directory of the config file, and each directory of ``python_import_path`` outside of it, has a counterpart there, below
    a directory that stays the same as long as the declared files do.
    """

    def __init__(
        self,
        manifest: Path,
        import_path: Sequence[Path],
        project: Path,
        files: Sequence[_File] = (),
        cwd: Path | None = None,
    ) -> None:
        self._manifest = manifest
        self._pinned = _load(manifest)
        self._project = str(project)
        self._files = list(files)
        self._roots = [*map(str, import_path)]
        self._roots += [
            root for root in _roots_of(self._pinned) if _moved(root, [(each, "") for each in self._roots]) == root
        ]
        self._counterparts = self._find_counterparts()
        self.working_directory = _moved(str(cwd or project), self._counterparts.items())
        """The worker's: the counterpart of ``cwd`` (default: the project's), relative to the top there, else ``cwd`` itself."""
        own = [] if os.path.isabs(self.working_directory) else [self.working_directory]
        self._directories = sorted({*self._counterparts.values(), *own})
        listing = [[file.row for file in self._files], self._directories]
        self.tree_name = digest_of(json.dumps(listing).encode())[:16]
        """The name of the directory there that has the counterparts."""
        self.objects: Mapping[str, Path] = {
            **{file.digest: file.path for file in (*_worker_files(), *self._files)},
            **{digest: Path(object_path(str(manifest), digest)) for _, digest, _, _ in self._pinned.modules},
        }
        """By digest, the file here that has these bytes."""

    @classmethod
    def of(cls, config: Config, files: Sequence[str] = ()) -> Shipment:
        """Make the shipment of ``config``'s pinned generation. It reads the disk, and blocks.

        ``files`` are files, directories or globs relative to the directory of the config file, such as ``"data/**"``; what begins
        with a dot has to be named. Raises :class:`~lastgood.ConfigError` if one of them matches nothing, leads out of that
        directory or is too large, and :class:`~lastgood.BridgeError` if the generation is not pinned.
        """
        if config.pinned is None:
            raise BridgeError(
                "Only a pinned generation can run elsewhere. Give the bridge to a session, which pins what it makes: "
                "lastgood.watch(create_bridge=…)."
            )
        declared = _declared(config.path, files)
        cwd = config.runtime.process.cwd
        return cls(config.pinned, config.python_import_path, config.path.parent, declared, cwd)

    def addressed(self, home: str) -> Address:
        """Return this shipment for a host whose cache is at ``home``."""
        tree = f"{home}/trees/{self.tree_name}"
        pairs = [(here, f"{tree}/{name}") for here, name in self._counterparts.items()]
        made = Manifest()
        made.roots = [_moved(root, pairs) for root in self._pinned.roots]
        made.modules = [(kind, digest, name, _moved(path, pairs)) for kind, digest, name, path in self._pinned.modules]
        made.namespaces = {
            name: [_moved(path, pairs) for path in paths] for name, paths in self._pinned.namespaces.items()
        }
        made.late = [_moved(path, pairs) for path in self._pinned.late]
        made.elsewhere = self._pinned.elsewhere
        message = packed(
            {
                "manifest": made.dumps().decode("utf-8", "surrogateescape"),
                "worker": [file.row for file in _worker_files()],
                "tree": [file.row for file in self._files],
                "directories": self._directories,
                "tree_name": self.tree_name,
            }
        )
        return Address(message, [_moved(root, pairs) for root in self._roots], pairs)

    def read(self, digest: str) -> bytes:
        """Return the bytes of an object. Raises :class:`~lastgood.BridgeError` if they are not what they were any more."""
        path = self.objects[digest]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BridgeError(f"{path} cannot be shipped: {error.strerror}. Reload once more.") from None
        if digest_of(data) != digest:
            raise BridgeError(f"{path} has changed while it was shipped. Reload once more.")
        return data

    def _find_counterparts(self) -> dict[str, str]:
        """Return the name there of each directory here that has a counterpart, the innermost first."""
        outside = [root for root in dict.fromkeys(self._roots) if _moved(root, [(self._project, "")]) == root]
        found = {self._project: _PROJECT, **{root: f"path{number}" for number, root in enumerate(outside, 1)}}
        return dict(sorted(found.items(), key=lambda each: -len(each[0])))


def _load(manifest: Path) -> Manifest:
    try:
        return Manifest.load(str(manifest))
    except Damaged as damaged:
        raise BridgeError(f"The generation cannot be shipped. {damaged} The next reload pins it again.") from None


def _roots_of(pinned: Manifest) -> list[str]:
    """Return the directories from which all modules of a generation are imported."""
    roots = dict.fromkeys(pinned.roots)
    for is_package, _, name, path in pinned.modules:
        root = path
        for _ in range(name.count(".") + (2 if is_package else 1)):
            root = os.path.dirname(root)
        roots[root] = None
    return list(roots)


@cache
def _worker_files() -> tuple[_File, ...]:
    found = sorted(path for path in _WORKER.rglob("*.py") if "__pycache__" not in path.parts)
    return tuple(_file(path.relative_to(_WORKER).as_posix(), path) for path in found)


def _file(name: str, path: Path) -> _File:
    """Describe a file; its digest is only computed anew if it has changed."""
    found = path.stat()
    stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
    known = _digests.get(path)
    if known is None or known[0] != stamp:
        if len(_digests) > _MOST_DIGESTS:
            _digests.clear()
        known = _digests[path] = (stamp, digest_of(path.read_bytes()))
    return _File(name, known[1], found.st_size, bool(found.st_mode & stat.S_IXUSR), path)


_digests: dict[Path, tuple[tuple[int, int, int], str]] = {}
_MOST_DIGESTS = 10_000


def _declared(config_file: Path, globs: Sequence[str]) -> list[_File]:
    """Return the files that ``files=`` declares. Raises :class:`ConfigError`."""
    if isinstance(globs, str):
        raise TypeError("files is a sequence; put the one text that was given into a list.")
    project = config_file.parent
    found: dict[str, Path] = {}
    for each in globs:
        matched = dict(_matched(project, each))
        if not matched:
            raise _wrong(config_file, f'"{each}" matches no file in {project}.')
        found |= matched
    files = []
    for name, path in sorted(found.items()):
        try:
            size = path.stat().st_size
            if size > MAX_OBJECT:
                limit = f"{MAX_OBJECT >> 20} MiB"
                raise _wrong(config_file, f"{path} has {size} bytes, and {limit} is the most. Put it there yourself.")
            files.append(_file(f"{_PROJECT}/{name}", path))
        except OSError as error:
            raise _wrong(config_file, f"{path} cannot be read: {error.strerror}.") from None
    return files


def _matched(project: Path, pattern: str) -> Iterable[tuple[str, Path]]:
    if os.path.isabs(pattern) or ".." in Path(pattern).parts or not pattern.strip("/"):
        raise ConfigError(
            f'expected files below {project}, such as "data/**", found "{pattern}".', field="files", hint=""
        )
    for match in glob.iglob(pattern, root_dir=project, recursive=True):
        path = project / match
        if path.is_dir() and not glob.has_magic(pattern):
            yield from _matched(project, f"{glob.escape(match)}/**")
        elif path.is_file() and _NEVER.isdisjoint(Path(match).parts):
            yield Path(match).as_posix(), path


def _wrong(config_file: Path, problem: str) -> ConfigError:
    return ConfigError(problem, file=config_file, field="files")
