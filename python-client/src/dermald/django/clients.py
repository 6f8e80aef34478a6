"""One client per daemon and process, made at the first use. Opens nothing by itself."""

from __future__ import annotations

import threading

from django.core.signals import setting_changed
from django.dispatch import receiver

from .._client import Client
from .conf import DEFAULT_ALIAS, SETTING, daemon_settings

_clients: dict[str, Client] = {}
_lock = threading.Lock()


def get_client(alias: str = DEFAULT_ALIAS) -> Client:
    """The client of the daemon that `settings.DERMALD[alias]` describes, shared by all threads.

    Raises `ImproperlyConfigured` when the settings are wrong.
    """
    client = _clients.get(alias)
    if client is not None:
        return client
    with _lock:
        if alias not in _clients:
            _clients[alias] = _make(alias)
        return _clients[alias]


def _make(alias: str) -> Client:
    daemon = daemon_settings(alias)
    return Client(
        daemon.socket,
        timeout=daemon.timeout,
        pool_size=daemon.pool_size,
        retries=daemon.retries,
        daemon_users=daemon.daemon_users,
    )


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting != SETTING:
        return
    with _lock:
        for client in _clients.values():
            client.close()
        _clients.clear()
