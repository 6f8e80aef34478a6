"""System checks of background predictions; `checks` lists their ids. Opens no connection.

What is asked of a broker: when a worker holds a message for longer than `visibility_timeout`, Redis
gives it to another worker too. Nothing is stored twice then, but the work is done twice. The time
is also what a dead machine's messages wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning

from .conf import SETTING

if TYPE_CHECKING:
    from .conf import DaemonSettings

APP = "dermald.django.background"
_NEEDS = {
    "celery": (("celery",), "pip install 'dermald[celery]'"),
    "tasks": (
        ("django.tasks", "django_tasks"),
        "Django 6.0 has django.tasks; on 5.2: pip install 'dermald[tasks-backport]'",
    ),
}
# kombu's, for who states none.
_REDIS_VISIBILITY_TIMEOUT = 3600.0
_RUN_NOTHING_LATER = ("ImmediateBackend", "DummyBackend")


def queue(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    """What holds everywhere."""
    if daemon.background is None:
        return
    where = f"{SETTING}[{alias!r}]['BACKGROUND']"
    if not apps.is_installed(APP):
        hint = f"Add it: INSTALLED_APPS = [..., {APP!r}]"
        text = f"{where} is {daemon.background!r} and {APP!r} is not installed."
        yield Error(text, hint=hint, id="dermald.E005")
    modules, hint = _NEEDS[daemon.background]
    if not any(find_spec(module) for module in modules):
        text = f"{where} is {daemon.background!r}, which this Python does not have."
        yield Error(text, hint=hint, id="dermald.E006")
    elif daemon.background == "celery":
        yield from _visibility(alias, daemon)


def queue_deployed(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    """What holds where visitors come."""
    if daemon.background != "tasks" or not any(map(find_spec, _NEEDS["tasks"][0])):
        return
    backend = type(_tasks_backend()).__name__
    if backend in _RUN_NOTHING_LATER:
        yield Warning(
            f"TASKS['default'] is {backend}: {SETTING}[{alias!r}]['BACKGROUND'] has no background.",
            hint="'BACKEND': 'django_tasks_db.DatabaseBackend', and `manage.py db_worker`.",
            id="dermald.W011",
        )


def _visibility(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    from celery import current_app

    from .background.limits import limits_of

    conf: Any = current_app.conf
    if not conf.broker_url:
        yield Error(
            f"{SETTING}[{alias!r}]['BACKGROUND'] is 'celery', and Celery knows no broker here.",
            hint="The site's processes send tasks: import the Celery app in the package of its "
            "settings (`from .celery import app`), and name the broker in its configuration.",
            id="dermald.E008",
        )
        return
    if not str(conf.broker_url or "").startswith(("redis", "sentinel")):
        return
    options = conf.broker_transport_options or {}
    stated = options.get("visibility_timeout")
    # 0 is without a bound.
    needed = limits_of(daemon).longest_held(conf.worker_prefetch_multiplier or math.inf)
    held = (
        f"a worker may hold a message of {SETTING}[{alias!r}] for {needed:g} s (TASK_TIMEOUT is "
        f"{daemon.task_timeout:g}, worker_prefetch_multiplier {conf.worker_prefetch_multiplier})"
    )
    if float(_REDIS_VISIBILITY_TIMEOUT if stated is None else stated) <= needed:
        yield Error(
            f"The broker's visibility_timeout is {stated or 'not stated (3600 s)'}; {held}.",
            hint="Two workers would do the same work. Make visibility_timeout longer, or "
            "worker_prefetch_multiplier 1.",
            id="dermald.E007",
        )
    elif stated is None:
        yield Warning(
            "The broker's visibility_timeout is not stated; tasks of a machine that died run again "
            "after Redis's 3600 s.",
            hint="broker_transport_options = {'visibility_timeout': N}, with N above "
            f"{needed:g}: {held}.",
            id="dermald.W009",
        )
    if options.get("socket_timeout") is None or options.get("socket_connect_timeout") is None:
        yield Warning(
            "The broker's connections have no time limit.",
            hint="What is sent to a Redis that hangs would be waited for without end. "
            "broker_transport_options = {'socket_timeout': 5, 'socket_connect_timeout': 2, ...}",
            id="dermald.W010",
        )


def _tasks_backend() -> object:
    try:
        from django.tasks import default_task_backend
    except ImportError:
        from django_tasks import default_task_backend  # type: ignore[assignment]
    # The proxy's own class tells nothing.
    return _behind(default_task_backend)


def _behind(proxy: Any) -> object:  # noqa: ANN401  # Django's ConnectionProxy
    return proxy._connections[proxy._alias]
