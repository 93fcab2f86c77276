"""The program of the extractor process: it reads sources, generates wrappers and imports them, without blocking the app.

The process ends with its app: by a signal from the kernel on Linux, and at the end of its input everywhere.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import traceback
from contextlib import suppress

from lastgood.bridges.worker import frames
from lastgood.bridges.worker.parent import die_with
from lastgood.sources.import_statements import IMPORTS, Imports, imports_of
from lastgood.sources.memo import Answer, Memo
from lastgood.store.file_system import digest_of
from lastgood.wrappers import ModuleSource, Wrapped
from lastgood.wrappers.generate import Pipeline
from lastgood.wrappers.process.extractor_wire import (
    LENGTH,
    Defect,
    FoundImports,
    Made,
    Progress,
    Read,
    Reply,
    Use,
    Wrap,
    encode,
    request_from,
)
from lastgood.wrappers.process.import_check import ImportCheck

__all__ = ["main"]

_QUIET = 0.2
"""Seconds without a request, after which the process writes to disk what it has found out and collects garbage."""


class _Gone(Exception):
    """The app has closed its end of the pipes."""


def main(parent: int, requests: int, replies: int) -> None:
    """Serve the app with process id ``parent`` until it closes the pipes, the file descriptors ``requests`` and ``replies``."""
    die_with(parent)
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)  # syntax trees have hundreds of thousands of nodes
    server = _Server(replies)
    waiting = select.poll()  # select() takes no descriptor above 1023, and the app may have that many
    waiting.register(requests, select.POLLIN)
    with suppress(_Gone, EOFError):
        while True:
            if not waiting.poll(_QUIET * 1000):
                server.tidy()
            (length,) = LENGTH.unpack(frames.read_exactly(requests, LENGTH.size))
            server.serve(frames.read_exactly(requests, length))
    server.close()
    for stream in sys.stdout, sys.stderr:  # which ``sitecustomize`` may have printed to, closed, or replaced
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(0)  # skip the deallocation of the trees, which takes a while


class _Server:
    def __init__(self, replies: int) -> None:
        self._replies = replies
        self._memo = Memo()
        self._pipeline = self._new_pipeline(())
        self._sources: dict[str, ModuleSource] = {}
        self._named: set[str] = set()
        self._made = Wrapped({})

    def _new_pipeline(self, annotated: tuple[str, ...]) -> Pipeline:
        return Pipeline(ImportCheck(), self._report_progress, self._report_progress, self._memo, annotated)

    def serve(self, data: bytes) -> None:
        request = request_from(data)
        try:
            match request:
                case Read(data):
                    self._reply(FoundImports(self._imports_of(data)))
                case Use(path, read_only):
                    self._memo.use(path, read_only=read_only)
                case Wrap():
                    self._reply(self._wrap(request))
        except _Gone:
            raise
        except Exception:
            self._reply(Defect(traceback.format_exc()))

    def tidy(self) -> None:
        """Tidy up the memo and collect garbage, while no request is waiting."""
        self._memo.tidy()
        gc.collect()

    def close(self) -> None:
        self._memo.close()

    def _imports_of(self, data: bytes) -> Imports:
        return self._memo.ask(IMPORTS, (digest_of(data),), lambda: Answer(imports_of(data))).found

    def _wrap(self, request: Wrap) -> Made:
        known = {source.digest: source.data for source in self._sources.values()}
        known |= {digest_of(data): data for data in request.data}
        for name in request.gone:
            del self._sources[name]
            self._named.discard(name)
        for row in request.changed:
            data = known[row.digest] if row.digest else b""
            self._sources[row.name] = ModuleSource(row.name, row.path, data, row.is_package, row.selection, row.digest)
            (self._named.add if row.is_named else self._named.discard)(row.name)
        is_other = request.annotated != self._pipeline.annotated
        if is_other:
            self._pipeline = self._new_pipeline(request.annotated)
        before, sources = self._made, [self._sources[name] for name in self._named]
        changed = {*request.gone, *(row.name for row in request.changed)}
        made = self._made = self._pipeline.wrap(
            sources, self._sources.get, request.style, None if is_other else changed, self._sources
        )
        return Made(
            {path: text for path, text in made.files.items() if before.files.get(path) is not text},
            tuple(before.files.keys() - made.files.keys()),
            {name: data for name, data in made.modules.items() if before.modules.get(name) is not data},
            tuple(before.modules.keys() - made.modules.keys()),
            made.warnings,
            made.failures,
        )

    def _report_progress(self, module: str) -> None:
        self._reply(Progress(module))

    def _reply(self, reply: Reply) -> None:
        data = memoryview(encode(reply))
        try:
            while data:
                data = data[os.write(self._replies, data) :]
        except BrokenPipeError:
            raise _Gone from None
