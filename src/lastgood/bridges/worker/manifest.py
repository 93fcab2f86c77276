"""The manifest of a pinned generation: which bytes stand at which path (contract §9). Both sides read this file.

A manifest is text, one line a fact, its fields separated by tabs; the first line has the digest of the rest.

    lastgood-manifest-1 <digest>
    root      <path>                    a directory whose modules are local
    module    <digest> <name> <path>    a module, and where the user's file lies
    package   <digest> <name> <path>    likewise, an ``__init__.py``
    namespace <name> <path>             a directory of a namespace package; as many lines as it has, in their order
    late      <path>                    the module there was pinned when a worker imported it: no import statement leads to it
    elsewhere <name>                    an import statement leads to this module, and it is not local
    file      <digest> <name>           what else was kept with the generation

The bytes lie beside it, by their digest: ``<home>/manifests/<digest of the manifest>``, ``<home>/objects/<digest>``.
"""

from __future__ import annotations

import os

try:  # hashlib would load OpenSSL, 11 ms of a worker's start
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # older
    except ImportError:
        from hashlib import sha256

__all__ = ["Damaged", "Manifest", "digest_of", "object_path", "read_object"]

_HEAD = "lastgood-manifest-1\t"
_MODULES = ("module", "package")


class Damaged(Exception):
    """What was kept of a generation is not what was written. The text says what, and where it lies."""


class Manifest:
    """``modules`` are (is a package, digest, name, path), ``late`` the paths of some of them; ``namespaces`` name to
    directories; ``files`` name to digest.
    """

    def __init__(self) -> None:
        self.roots: list[str] = []
        self.modules: list[tuple[bool, str, str, str]] = []
        self.namespaces: dict[str, list[str]] = {}
        self.late: list[str] = []
        self.elsewhere: list[str] = []
        self.files: dict[str, str] = {}

    def dumps(self) -> bytes:
        """As it is written. Equal manifests give equal bytes."""
        rows: list[tuple[str, ...]] = [("root", root) for root in self.roots]
        rows += [(_MODULES[module[0]], *module[1:]) for module in self.modules]
        rows += [("namespace", name, path) for name, paths in self.namespaces.items() for path in paths]
        rows += [("late", path) for path in self.late]
        rows += [("elsewhere", name) for name in self.elsewhere]
        rows += [("file", digest, name) for name, digest in self.files.items()]
        body = "".join("\t".join(map(_escape, row)) + "\n" for row in rows).encode("utf-8", "surrogateescape")
        return f"{_HEAD}{digest_of(body)}\n".encode() + body

    @classmethod
    def loads(cls, data: bytes, where: str) -> Manifest:
        """What :meth:`dumps` wrote; ``where`` it comes from is for :class:`Damaged`."""
        head, _, body = data.partition(b"\n")
        if head != f"{_HEAD}{digest_of(body)}".encode():
            raise Damaged(f"{where} is damaged: it is not the manifest that was written there.")
        made = cls()
        for line in body.decode("utf-8", "surrogateescape").split("\n")[:-1]:
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
        """The manifest at ``path`` on the disk. Raises :class:`Damaged`, also if there is none, or if it is not the one of that
        name: whoever gives the path says with it what may be run.
        """
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}.") from None
        if digest_of(data) != os.path.basename(path):
            raise Damaged(f"{path} is damaged: its bytes are not those that its name stands for.")
        return cls.loads(data, path)


def digest_of(data: bytes) -> str:
    """The digest by which bytes are told apart: SHA-256, as everywhere in lastgood."""
    digest: str = sha256(data).hexdigest()
    return digest


def object_path(manifest: str, digest: str) -> str:
    """Where the bytes with this digest lie, for a manifest at that path."""
    return os.path.join(os.path.dirname(os.path.dirname(manifest)), "objects", digest)


def read_object(manifest: str, digest: str) -> bytes:
    """The bytes with this digest. Raises :class:`Damaged` if they are gone, or are others by now."""
    path = object_path(manifest, digest)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}.") from None
    if digest_of(data) != digest:
        raise Damaged(f"{path} is damaged: its bytes are not those that its name stands for.")
    return data


def _escape(field: str) -> str:
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _unescape(field: str) -> str:
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n") for part in field.split("\\\\"))
