"""One client per daemon and process, made at the first use. Opens nothing by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._client import Client
from .conf import DEFAULT_ALIAS, SETTING, DaemonSettings, daemon_settings

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from .._aio import AsyncClient

_clients: dict[str, Client] = {}
_probes: dict[str, Client] = {}
_async_clients: dict[tuple[str, str, AbstractEventLoop], AsyncClient] = {}
_lock = threading.Lock()
_PROBE = {"pool_size": 2, "retries": 0}


def get_client(alias: str = DEFAULT_ALIAS) -> Client:
    """The client of the daemon that `settings.DERMALD[alias]` describes, shared by all threads.

    Raises `ImproperlyConfigured` when the settings are wrong.
    """
    return _kept(_clients, alias, lambda daemon: Client(**_arguments(daemon)))


def get_probe(alias: str = DEFAULT_ALIAS) -> Client:
    """One for questions about the daemon itself, which must not wait for a connection behind
    threads that wait for predictions, and has no time to ask twice."""
    return _kept(_probes, alias, lambda daemon: Client(**{**_arguments(daemon), **_PROBE}))


def get_async_client(alias: str = DEFAULT_ALIAS) -> AsyncClient:
    """The same for asyncio, one per running event loop: under ASGI there is one.

    Raises `RuntimeError` outside of a loop, and what `get_client` raises.
    """
    return _kept_for_loop("client", alias, {})


def get_async_probe(alias: str = DEFAULT_ALIAS) -> AsyncClient:
    """`get_probe` for asyncio."""
    return _kept_for_loop("probe", alias, _PROBE)


def _kept(
    clients: dict[str, Client], alias: str, make: Callable[[DaemonSettings], Client]
) -> Client:
    client = clients.get(alias)
    if client is not None:
        return client
    with _lock:
        if alias not in clients:
            with _blamed_on_settings(alias):
                clients[alias] = make(daemon_settings(alias))
        return clients[alias]


def _kept_for_loop(use: str, alias: str, changes: dict[str, int]) -> AsyncClient:
    import asyncio

    from .._aio import AsyncClient

    key = (use, alias, asyncio.get_running_loop())
    client = _async_clients.get(key)
    if client is None:
        with _blamed_on_settings(alias):
            client = AsyncClient(**{**_arguments(daemon_settings(alias)), **changes})
        with _lock:
            _leave_closed_loops()
            _async_clients[key] = client
    return client


@contextmanager
def _blamed_on_settings(alias: str) -> Iterator[None]:
    """What a client refuses that the keys let pass, such as a user whom this host does not know."""
    try:
        yield
    except ValueError as error:
        raise ImproperlyConfigured(f"{SETTING}[{alias!r}]: {error}") from error


def _arguments(daemon: DaemonSettings) -> dict[str, Any]:
    return {
        "socket": daemon.socket,
        "timeout": daemon.timeout,
        "pool_size": daemon.pool_size,
        "retries": daemon.retries,
        "daemon_users": daemon.daemon_users,
    }


def _leave_closed_loops() -> None:
    # Django runs an asynchronous view under WSGI in a loop of its own for each request.
    for key in [key for key in _async_clients if key[2].is_closed()]:
        _async_clients.pop(key).abandon()


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting != SETTING:
        return
    with _lock:
        for client in (*_clients.values(), *_probes.values()):
            client.close()
        for later in _async_clients.values():
            later.abandon()
        _clients.clear()
        _probes.clear()
        _async_clients.clear()
