"""The real daemon for the tests that need it, and a site with accounts for Django."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import django
import pytest
from django.core.management import call_command
from django.test.utils import setup_test_environment, teardown_test_environment

import dermald
from processes import Daemon, private_folder

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "demo"
TEST_BUNDLES = ROOT / "target" / "test-bundles"
BINARY = Path(os.environ.get("TEST_DERMALD") or ROOT / "target" / "release" / "dermald")

StartDaemon = Callable[..., Daemon]


def pytest_configure(config: pytest.Config) -> None:
    # Not for the sites that tests start: they have their own.
    os.environ["DJANGO_SETTINGS_MODULE"] = "team_settings"
    # A daemon of the person who runs the tests must not answer them.
    os.environ.pop("DERMALD_SOCKET", None)
    django.setup()
    del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_report_header() -> str:
    return f"dermald {dermald.__version__} from {dermald.__path__[0]}, Django {django.__version__}"


@pytest.fixture(scope="session", autouse=True)
def django_environment() -> Iterator[None]:
    setup_test_environment()
    yield
    teardown_test_environment()


@pytest.fixture(scope="session")
def database() -> None:
    """The tables of accounts, in memory."""
    call_command("migrate", verbosity=0)


@pytest.fixture(scope="session")
def binary() -> Path:
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is missing; run `cargo build --release` or set TEST_DERMALD")
    return BINARY


def bundle(name: str) -> Path:
    """`demo`, or one of the bundles that the tests of the models make."""
    folder = DEMO if name == "demo" else TEST_BUNDLES / name
    if not (folder / "manifest.toml").exists():
        pytest.fail(f"the model bundle {folder} is missing")
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path for sockets: a Unix socket's may have 107 bytes."""
    with private_folder() as path:
        yield path


@pytest.fixture
def start_daemon(binary: Path, folder: Path) -> Iterator[StartDaemon]:
    """Starts a daemon on `dermald.sock` in `folder`; all are ended with the test."""
    started: list[Daemon] = []

    def start(name: str = "demo", *options: str, **environment: str) -> Daemon:
        socket = folder / "dermald.sock"
        daemon = Daemon(binary, bundle(name), socket, *options, environment=environment)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.terminate()


@pytest.fixture(scope="module")
def daemon(binary: Path) -> Iterator[Daemon]:
    """One daemon with the demonstration model for all tests of a module."""
    with private_folder() as path:
        running = Daemon(binary, bundle("demo"), path / "dermald.sock")
        try:
            yield running
            assert running.running(), "the daemon died during the tests"
        finally:
            running.terminate()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[dermald.Client]:
    with dermald.Client(daemon.socket) as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> Path:
    path = DEMO / "sample.jpg"
    if not path.exists():
        pytest.fail(f"{path} is missing")
    return path
