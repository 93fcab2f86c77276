"""The manifest of a pinned generation: the path and digest of each of its sources. Both sides import this file.

A manifest is text, with one entry in each line and fields separated by tabs. The first line contains the digest of the rest.

    lastgood-manifest-1 <digest>
    root      <path>                    a directory whose modules are local
    module    <digest> <name> <path>    a module, and the path of the user's file
    package   <digest> <name> <path>    a package, and the path of its ``__init__.py``
    namespace <name> <path>             a directory of a namespace package; a line for each directory, in search order
    late      <path>                    a module that was pinned when a worker imported it: no import statement leads to it
    elsewhere <name>                    a module that an import statement leads to, and that is not local
    file      <digest> <name>           another file that is stored with the generation

The files are stored by digest: ``<home>/manifests/<digest of the manifest>``, ``<home>/objects/<digest>``.
"""

from __future__ import annotations

import os
import stat
import sys

if "hashlib" in sys.modules:  # as in an app: OpenSSL's is several times as fast
    from hashlib import sha256
else:
    try:  # importing hashlib loads OpenSSL, which adds 11 ms to a worker's start
        from _sha2 import sha256  # type: ignore[import-not-found,no-redef]  # Python 3.12 and newer
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found,no-redef]  # before Python 3.12
        except ImportError:
            from hashlib import sha256

__all__ = ["Damaged", "Manifest", "digest_of", "new_sources", "object_path", "read_object"]

_HEAD = "lastgood-manifest-1\t"
_MAX_SIZE = 1 << 28
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_MODULES = ("module", "package")
_KINDS = ("module\t", "package\t")


class Damaged(Exception):
    """The stored data of a generation is not what was written. The text names the file and the problem."""


class Manifest:
    """The content of a manifest.

    ``modules`` are tuples (is a package, digest, name, path), ``late`` the paths of some of them. ``namespaces`` maps names to
    directories, ``files`` names to digests.
    """

    def __init__(self) -> None:
        self.roots: list[str] = []
        self.modules: list[tuple[bool, str, str, str]] = []
        self.namespaces: dict[str, list[str]] = {}
        self.late: list[str] = []
        self.elsewhere: list[str] = []
        self.files: dict[str, str] = {}

    def dumps(self) -> bytes:
        """Return the manifest as bytes. Equal manifests give equal bytes."""
        rows: list[tuple[str, ...]] = [("root", root) for root in self.roots]
        rows += [(_MODULES[module[0]], *module[1:]) for module in self.modules]
        rows += [("namespace", name, path) for name, paths in self.namespaces.items() for path in paths]
        rows += [("late", path) for path in self.late]
        rows += [("elsewhere", name) for name in self.elsewhere]
        rows += [("file", digest, name) for name, digest in self.files.items()]
        text = "".join(["\t".join(row) + "\n" for row in rows])
        # Hardly any field needs an escape, and there may be tens of thousands.
        if "\\" in text or text.count("\t") > sum(map(len, rows)) - len(rows) or text.count("\n") > len(rows):
            text = "".join("\t".join(map(_escape, row)) + "\n" for row in rows)
        body = text.encode("utf-8", "surrogateescape")
        return f"{_HEAD}{digest_of(body)}\n".encode() + body

    @classmethod
    def loads(cls, data: bytes, where: str) -> Manifest:
        """Parse the bytes of :meth:`dumps`. Raise :class:`Damaged` with ``where``, the path they come from."""
        head, _, body = data.partition(b"\n")
        if head != f"{_HEAD}{digest_of(body)}".encode():
            raise Damaged(f"{where} is damaged: it is not the manifest that was written there.")
        return cls._of(body.decode("utf-8", "surrogateescape").split("\n")[:-1])

    @classmethod
    def _of(cls, rows: list[str]) -> Manifest:
        made = cls()
        for line in rows:
            fields = line.split("\t")
            if "\\" in line:
                fields = list(map(_unescape, fields))
            kind = fields[0]
            if kind in _MODULES:
                made.modules.append((kind == "package", fields[1], fields[2], fields[3]))
            elif kind == "namespace":
                made.namespaces.setdefault(fields[1], []).append(fields[2])
            elif kind == "late":
                made.late.append(fields[1])
            elif kind == "elsewhere":
                made.elsewhere.append(fields[1])
            elif kind == "root":
                made.roots.append(fields[1])
            else:
                made.files[fields[2]] = fields[1]
        return made

    @classmethod
    def load(cls, path: str) -> Manifest:
        """Read the manifest at ``path``.

        Raises :class:`Damaged` if it cannot be read, or if its digest is not its name: the path identifies what may be run.
        """
        return cls.loads(_read_verified(path), path)


def new_sources(path: str, before: str) -> list[tuple[str, str]]:
    """Return the digests and paths of the modules at the manifest ``path`` with a source that no module at ``before`` has.

    Raises as :meth:`Manifest.load` does.
    """
    texts = (_read_verified(each).decode("utf-8", "surrogateescape") for each in (path, before))
    rows, former = (text.split("\n")[1:-1] for text in texts)
    same = frozenset(former)
    new = Manifest._of([row for row in rows if row not in same]).modules
    known = {row.split("\t", 2)[1] for row in former if row.startswith(_KINDS)}  # in a third of the time of _of(former)
    return [(digest, path) for _, digest, _, path in new if digest not in known]


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of ``data`` in hexadecimal."""
    digest: str = sha256(data).hexdigest()
    return digest


def object_path(manifest: str, digest: str) -> str:
    """Return the path of the object with this digest, for a manifest at that path."""
    return os.path.join(os.path.dirname(os.path.dirname(manifest)), "objects", digest)


def read_object(manifest: str, digest: str) -> bytes:
    """Return the bytes with this digest. Raise :class:`Damaged` if they cannot be read or have changed."""
    return _read_verified(object_path(manifest, digest))


def _read_verified(path: str) -> bytes:
    """Return the bytes of a file whose name is their digest; neither wait for a FIFO nor read a device or a huge file."""
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SIZE:
                raise Damaged(f"{path} is damaged: it is not a regular file, or is too large.")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}.") from None
    if digest_of(data) != os.path.basename(path):
        raise Damaged(f"{path} is damaged: its bytes are not those that its name stands for.")
    return data


def _escape(field: str) -> str:
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _unescape(field: str) -> str:
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n") for part in field.split("\\\\"))
