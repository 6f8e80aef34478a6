"""For pytest: `pytest_plugins = ["dermald.testing.fixtures"]` in a site's conftest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .._translation import django_is_set_up
from .daemon import FakeDaemon


@pytest.fixture
def dermald_daemon() -> Iterator[FakeDaemon]:
    """A fake daemon for one test; in a Django site `settings.DERMALD` already leads to it."""
    with FakeDaemon() as daemon:
        if django_is_set_up():
            with daemon.override_settings():
                yield daemon
        else:
            yield daemon
