"""What `manage.py check` finds, each under an id of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.checks.registry import registry
from django.test import override_settings

from dermald.django import checks, task_checks

EXAMPLE = Path(__file__).resolve().parents[1] / "example"
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
REDIS = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://r:1"}


@pytest.fixture(autouse=True)
def no_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)


def found(deploy: bool = False) -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG], include_deployment_checks=deploy)


def ids(deploy: bool = False) -> list[str]:
    return [str(message.id) for message in found(deploy)]


def test_checks_are_registered() -> None:
    always, deployed = registry.get_checks(), registry.get_checks(include_deployment_checks=True)
    assert "check_settings" in names_of(always)
    assert "check_deployment" not in names_of(always)
    assert "check_deployment" in names_of(deployed)


def names_of(registered: list[Any]) -> list[str]:
    return [check.__name__ for check in registered if check.__module__ == checks.__name__]


def test_example_has_no_mistakes() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--tag", "dermald", "--fail-level", "WARNING"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("setting", "id", "hint"),
    [
        ("nothing", "dermald.E001", None),
        ({"default": 3}, "dermald.E001", None),
        ({"default": {"TIMOUT": 3}}, "dermald.E002", "Did you mean 'TIMEOUT'?"),
        ({"default": {"CACHES": "x"}}, "dermald.E002", "Did you mean 'CACHE'?"),
        ({"default": {"TIMEOUT": -1}}, "dermald.E003", None),
        ({"default": {"CACHE_OVERLAYS": "no"}}, "dermald.E003", None),
        ({"default": {"CACHE": "redis"}}, "dermald.E004", "CACHES has 'default'."),
        (
            {"other": {}},
            "dermald.W001",
            "The upload page and get_client() use the entry 'default'.",
        ),
    ],
)
def test_mistake_has_its_id_and_hint(setting: object, id: str, hint: str | None) -> None:
    with override_settings(DERMALD=setting, CACHES={"default": LOCAL}):
        messages = found()
    assert [message.id for message in messages] == [id]
    assert messages[0].hint == hint


def test_all_mistakes_are_told_at_once() -> None:
    with override_settings(DERMALD={"default": {"A": 1, "TOP_K": -1}, "b": {"TIMEOUT": "x"}}):
        assert ids() == ["dermald.E002", "dermald.E003", "dermald.E003"]


def test_secret_of_the_wrong_form_is_not_shown() -> None:
    with override_settings(DERMALD={"default": {"METRICS_TOKEN": ["hush"]}}):
        messages = found()
    assert [message.id for message in messages] == ["dermald.E003"]
    assert "hush" not in str(messages[0])


def test_socket_below_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with override_settings(DERMALD={"default": {"SOCKET": tmp_path / "file" / "x.sock"}}):
        assert ids() == ["dermald.W002"]
    with override_settings(DERMALD={"default": {"SOCKET": tmp_path / "later" / "x.sock"}}):
        assert ids() == []


FORBIDDEN = """
import os, sys, django
from django.conf import settings
settings.configure(DERMALD={"default": {"SOCKET": sys.argv[1]}}, INSTALLED_APPS=["dermald.django"])
django.setup()
from django.core.checks import run_checks
os.setuid(65534)
print(*[message.id for message in run_checks(tags=["dermald"])])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_folder_that_the_site_may_not_enter_is_found(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, str(folder / "x.sock")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["dermald.W002"]


@pytest.mark.parametrize(
    ("arguments", "entry", "warned"),
    [
        (None, {"TIMEOUT": 500}, False),
        ("--timeout 300", {"TIMEOUT": 30}, False),
        ("--workers 1 --timeout=30", {"TIMEOUT": 30}, True),
        ("-t 20 --threads 2", {"TIMEOUT": 30}, True),
        ("-t 0", {"TIMEOUT": 30}, False),
        ("--workers 1", {"TIMEOUT": 29}, False),
        ("--workers 1", {"TIMEOUT": 31}, True),
        ("--timeout soon", {"TIMEOUT": 31}, False),
        ("--timeout 'open quote", {"TIMEOUT": 31}, False),
        (None, {"TIMEOUT": 31, "WORKER_TIMEOUT": 30}, True),
        ("--timeout 10", {"TIMEOUT": 31, "WORKER_TIMEOUT": 60}, False),
    ],
)
def test_timeout_beyond_the_web_servers_is_found(
    arguments: str | None,
    entry: dict[str, object],
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if arguments is not None:
        monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)
    with override_settings(DERMALD={"default": entry}):
        assert ids() == (["dermald.W003"] if warned else [])


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (REDIS, ["dermald.W004"]),
        ({**REDIS, "OPTIONS": {"socket_timeout": 1}}, []),
        ({**REDIS, "LOCATION": ["redis://r:1?socket_timeout=1"]}, []),
        (LOCAL, []),
    ],
)
def test_redis_without_a_time_limit_is_found(cache: dict[str, object], expected: list[str]) -> None:
    entry = {"CACHE": "default", "CACHE_OVERLAYS": True}
    with override_settings(DERMALD={"default": entry}, CACHES={"default": cache}):
        assert ids() == expected


@pytest.mark.parametrize(
    ("entry", "warned"),
    [
        ({}, True),
        ({"EXPLAIN": "overlay"}, True),
        ({"EXPLAIN": "values"}, False),
        ({"CACHE_OVERLAYS": True}, False),
    ],
)
def test_cache_that_would_remember_nothing_of_the_page_is_found(
    entry: dict[str, object], warned: bool
) -> None:
    with override_settings(
        DERMALD={"default": {"CACHE": "default", **entry}}, CACHES={"default": LOCAL}
    ):
        assert ids() == (["dermald.W012"] if warned else [])


def test_deployment_mistakes_are_found_for_deployments_only(folder: Path) -> None:
    folder.chmod(0o777)
    with override_settings(
        DERMALD={"default": {"CACHE": "default", "EXPLAIN": None, "SOCKET": folder / "x.sock"}},
        CACHES={"default": LOCAL},
        FILE_UPLOAD_MAX_MEMORY_SIZE=2**20,
        DATA_UPLOAD_MAX_MEMORY_SIZE=2**20,
    ):
        assert ids() == []
        expected = ["dermald.W005", "dermald.W006", "dermald.W007", "dermald.W008"]
        assert sorted(ids(deploy=True)) == expected
    folder.chmod(0o700)
    with override_settings(
        DERMALD={"default": {"MAX_BYTES": 2**20, "SOCKET": folder / "x.sock"}},
        FILE_UPLOAD_MAX_MEMORY_SIZE=2**20,
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    ):
        assert ids(deploy=True) == []


CELERY = {"default": {"BACKGROUND": "celery"}}
PATIENT = {"socket_timeout": 5, "socket_connect_timeout": 2}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # Celery's Settings
    """The configuration of the site's Celery."""
    celery = pytest.importorskip("celery", reason="NOT TESTED: checks of Celery's broker")
    app = celery.Celery("checked", broker="redis://r:1", set_as_current=False)
    monkeypatch.setattr(celery, "current_app", app)
    return app.conf


@pytest.mark.parametrize(
    ("prefetch", "options", "expected"),
    [
        # 150 s for one message, five fetched at once, and a pause of 120.
        (4, {"visibility_timeout": 871, **PATIENT}, []),
        (4, {"visibility_timeout": 870, **PATIENT}, ["dermald.E007"]),
        (1, {"visibility_timeout": 421, **PATIENT}, []),
        (1, {"visibility_timeout": 420, **PATIENT}, ["dermald.E007"]),
        (0, {"visibility_timeout": 10_000, **PATIENT}, ["dermald.E007"]),
        (1, PATIENT, ["dermald.W009"]),
        (30, PATIENT, ["dermald.E007"]),
        (1, {"visibility_timeout": 500}, ["dermald.W010"]),
        (1, {"visibility_timeout": 500, "socket_timeout": 5}, ["dermald.W010"]),
    ],
)
def test_broker_that_gives_up_before_the_longest_task_is_found(
    prefetch: int,
    options: dict[str, object],
    expected: list[str],
    broker: Any,  # noqa: ANN401
) -> None:
    broker.worker_prefetch_multiplier = prefetch
    broker.broker_transport_options = options
    with override_settings(DERMALD=CELERY):
        assert ids() == expected
    with override_settings(DERMALD={"default": {**CELERY["default"], "TASK_TIMEOUT": 1}}):
        assert ("dermald.E007" in ids()) == (prefetch == 0)
    broker.broker_url = "amqp://r"
    with override_settings(DERMALD=CELERY):
        assert ids() == []


def test_site_that_knows_no_broker_is_found(broker: Any) -> None:  # noqa: ANN401
    broker.broker_url = None
    with override_settings(DERMALD=CELERY):
        assert ids() == ["dermald.E008"]


@pytest.mark.parametrize("queue", ["celery", "tasks"])
def test_background_without_its_app_or_package_is_found(
    queue: str,
    broker: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker.broker_transport_options = {"visibility_timeout": 3600, **PATIENT}
    entry = {"default": {"BACKGROUND": queue}}
    with override_settings(DERMALD=entry, INSTALLED_APPS=["dermald.django"]):
        assert ids() == ["dermald.E005"]
    monkeypatch.setattr(task_checks, "find_spec", lambda _: None)
    with override_settings(DERMALD=entry):
        assert ids() == ["dermald.E006"]


def test_tasks_that_run_at_once_are_found_for_deployments(folder: Path) -> None:
    pytest.importorskip("django_tasks_db", reason="NOT TESTED: django.tasks")
    entry = {"BACKGROUND": "tasks", "MAX_BYTES": 2**20, "SOCKET": folder / "x.sock"}
    with override_settings(DERMALD={"default": entry}):
        assert ids() == []
        assert ids(deploy=True) == ["dermald.W011"]


def test_every_id_means_one_thing() -> None:
    """The list at the top of the module is complete, and no two checks share an id."""
    assert checks.__doc__ is not None
    listed = re.findall(r"\b([EW]\d{3}) ", checks.__doc__)
    source = Path(checks.__file__).read_text() + Path(task_checks.__file__).read_text()
    used = re.findall(r"dermald\.([EW]\d{3})\"", source)
    assert sorted(used) == sorted(listed)
