"""``lastgood serve``: a session whose generations are an ASGI application, which uvicorn serves."""

from __future__ import annotations

import dataclasses
import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import AF_INET6, socket
from typing import Any

import click
import msgspec
import trio
from click.core import ParameterSource

from lastgood.cli.watching import watch_and_show
from lastgood.config import SERVE_ARGUMENTS, Config, ModuleConfig, ServeConfig, find_config, load_config, module_of_app
from lastgood.errors import ConfigError
from lastgood.interpreters.hooks import Hooks
from lastgood.serve.binding import bind, bind_unix, from_descriptor, release
from lastgood.serve.bridge import ServerBridge, checked_options
from lastgood.serve.unavailable import Unavailable
from lastgood.session.error_texts import error_details
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadError, WatchEvent

__all__ = ["Serving", "addresses", "config_of", "uvicorn_options"]

_DEBOUNCE = 0.02
"""Seconds without an edit before a cycle starts, unless the config has others."""
_PAGE_WIDTH = 110
_OWN = ("--host", "--port", "--uds", "--fd", "--factory")
_SAY_AFTER = 0.5
"""Seconds for which nothing is said when the end has to wait."""
_TITLE = "Nothing is served yet"
_SENTENCE = "The first start has failed. lastgood waits for an edit that mends it."


class Serving(msgspec.Struct, frozen=True):
    """The options of ``lastgood serve``; None, and no ``hosts``: as ``[serve]`` says. ``options`` are those of uvicorn."""

    config_file: Path | None
    app: str | None = None
    hosts: tuple[str, ...] = ()
    port: int | None = None
    uds: Path | None = None
    fd: int | None = None
    probe: str | None = None
    drain: float | None = None
    factory: bool = False
    header: bool = True
    options: Mapping[str, Any] = {}

    def settings(self, read: ServeConfig | None) -> ServeConfig:
        """Return ``[serve]``, as it was ``read``, with these options. Raises :class:`ConfigError`."""
        where = {
            "--host or --port": self.hosts or self.port is not None,
            "--uds": self.uds,
            "--fd": self.fd is not None,
        }
        first, *others = [name for name, is_given in where.items() if is_given] or [""]
        if others:
            raise ConfigError(f"{first} and {others[0]} exclude each other: the application is served at one place.")
        given = {"app": self.app, "port": self.port, "probe": self.probe, "drain": self.drain}
        given = {name: value for name, value in given.items() if value is not None}
        settings = msgspec.structs.replace(read or ServeConfig(), **given)
        if settings.app is None:
            raise ConfigError(
                "the application is not named. Write it as an argument, such as `lastgood serve main:app`, or as app under "
                "[serve] in the config."
            )
        if (wrong := settings.wrong_field()) is not None:
            raise ConfigError(f"{wrong[0]}: {wrong[1]}")
        return settings

    def bind(self, settings: ServeConfig) -> list[socket]:
        """Return the sockets to serve from. Raises :class:`ConfigError`."""
        if self.fd is not None:
            return [from_descriptor(self.fd)]
        uds = settings.uds if self.uds is None and not self.hosts and self.port is None else self.uds
        if uds is not None:
            return [bind_unix(uds)]
        port, bound = settings.port, list[socket]()
        try:
            for host in dict.fromkeys(self.hosts or (settings.host,)):
                bound += bind(host, port)
                port = bound[0].getsockname()[1]
        except BaseException:
            release(bound)
            raise
        return bound

    def has_any_port(self, settings: ServeConfig) -> bool:
        """Return whether the system chooses the port, so that only the sockets tell where the application is served."""
        has_port = (
            self.fd is None and self.uds is None and (settings.uds is None or self.hosts or self.port is not None)
        )
        return bool(has_port) and settings.port == 0

    @property
    def encrypts(self) -> bool:
        """True if connections are encrypted."""
        return "ssl_certfile" in self.options

    def run(self, sockets: Sequence[socket], show: Callable[[WatchEvent], None], keys: int | None = None) -> int:
        """Serve until Ctrl-C, SIGTERM or a key, and return the exit status; see :func:`watch_and_show`."""
        headers = [("Lastgood", "generation=0; stale")] if self.header else []
        unavailable = Unavailable(sockets, title=_TITLE, sentence=_SENTENCE, tls=_tls(self.options), headers=headers)

        def create_bridge(config: Config) -> ServerBridge:
            settings = self.settings(config.serve)
            assert settings.app is not None, "it was checked"
            made = _Bridge.from_config(
                config,
                settings.app,
                socket=sockets,
                probe=settings.probe,
                drain=settings.drain,
                options=self.options,
                factory=self.factory,
                header=self.header,
            )
            assert isinstance(made, _Bridge)
            made.on_live = unavailable.end
            return made

        def on_event(event: WatchEvent) -> None:
            if isinstance(event, ReloadError) and event.live_generation is None:
                lines = error_details(event.error, Path.cwd(), _PAGE_WIDTH)
                unavailable.begin("\n".join(line.plain for line in lines))
            show(event)

        return watch_and_show(
            lambda report: self._program(create_bridge, report),
            on_event,
            keys=keys,
            beside=unavailable.run,
            terminated=0,
        )

    def _program(
        self, create_bridge: Callable[[Config], ServerBridge], on_event: Callable[[WatchEvent], None]
    ) -> WatchProgram:
        if self.config_file is not None:
            program = watch(self.config_file, wait_for_first=True, on_event=on_event)
        else:
            # The arguments of a session are what two of them are compared by.
            text = json.dumps({"serve": {"app": self.app}}).encode()
            program = watch(modules=[], output=False, wait_for_first=True, on_event=on_event)
            file = Path(os.path.abspath(SERVE_ARGUMENTS))
            program = dataclasses.replace(program, config_file=file, arguments=text)
        return dataclasses.replace(program, hooks=Hooks(create_bridge), adapt=self._adapt)

    def _adapt(self, config: Config) -> Config:
        """Return the config of a cycle: for the application alone, without wrappers."""
        settings = self.settings(config.serve)
        module = module_of_app(settings.app or "")
        assert module is not None, "it was checked"
        debounce = _DEBOUNCE if config.watch.debounce is None else config.watch.debounce
        return msgspec.structs.replace(
            config,
            modules={module: ModuleConfig()},
            output=msgspec.structs.replace(config.output, dir=None),
            watch=msgspec.structs.replace(config.watch, debounce=debounce, drain_timeout=settings.drain),
            generators=(),
            serve=settings,
        )


class _Bridge(ServerBridge):
    """Tells, with the swap, that it is live, and at the end, what is waited for."""

    on_live: Callable[[], object]

    def live(self) -> None:
        self.on_live()
        super().live()

    async def idle(self) -> None:
        if not self.is_last:
            await super().idle()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_what_is_waited_for)
            await super().idle()
            nursery.cancel_scope.cancel()

    async def _say_what_is_waited_for(self) -> None:
        await trio.sleep(_SAY_AFTER)
        click.echo(f"Responses that were begun have {self.drain:g} s (--drain). Ctrl-C again ends them now.", err=True)


def config_of(named: Path | None) -> Path | None:
    """Return the config file for the command: the one that was named, or the nearest one if it has ``[serve]``.

    Any other config is that of another session, for wrappers. Raises :class:`ConfigError`.
    """
    if named is not None:
        return named
    try:
        found = find_config(Path.cwd())
    except ConfigError:
        return None
    try:
        return found if load_config(found).serve is not None else None
    except ConfigError:
        if b"serve" in found.read_bytes():
            raise
        return None


def uvicorn_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Return options of uvicorn's command line as arguments of ``uvicorn.Config``. Raises :class:`click.UsageError`."""
    from uvicorn.main import main as command

    for argument in arguments:
        name = argument.partition("=")[0]
        if name in _OWN:
            raise click.UsageError(f"{name} is an option of lastgood serve: write it before --.")
    try:
        context = command.make_context("uvicorn", ["main:app", *arguments])
    except click.UsageError as error:
        raise click.UsageError(f"what stands behind -- is for uvicorn: {error.format_message()}") from error
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and name != "app"
    }
    if "headers" in given:
        given["headers"] = [header.split(":", 1) for header in given["headers"]]
    return checked_options(given)


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Return what encrypts connections, if uvicorn does so with these options. Raises :class:`ConfigError`."""
    if "ssl_certfile" not in options:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(
            options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_keyfile_password")
        )
    except OSError as error:
        raise ConfigError(
            f"the certificate {options['ssl_certfile']} cannot be used: {error.strerror or error}."
        ) from error
    return context


def addresses(sockets: Sequence[socket], *, encrypts: bool) -> list[str]:
    """Return where the sockets are reached, as text."""
    scheme, found = "https" if encrypts else "http", []
    for each in sockets:
        name = each.getsockname()
        if not isinstance(name, tuple):
            found.append(os.fsdecode(name))
        else:
            host = f"[{name[0]}]" if each.family == AF_INET6 else name[0]
            found.append(f"{scheme}://{host}:{name[1]}")
    return found
