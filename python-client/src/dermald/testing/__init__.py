"""A daemon for the tests of sites: it speaks the real wire over a real socket, by a script.

    from dermald.testing import FakeDaemon, Answer, Refusal

    with FakeDaemon() as daemon, daemon.override_settings():
        daemon.then(Refusal("busy"), Answer({"Acne": 0.9, "Healthy": 0.1}))
        ...
        assert daemon.asked[0].picture == photo

With pytest: `pytest_plugins = ["dermald.testing.fixtures"]` in the site's conftest, then the
fixture `dermald_daemon`. Nothing here belongs into a site that serves.
"""

from ._answers import Asked
from .daemon import FakeDaemon
from .model import FakeModel
from .steps import Answer, Cut, GoAway, Hang, Nonsense, Refusal, Step

__all__ = [
    "Answer",
    "Asked",
    "Cut",
    "FakeDaemon",
    "FakeModel",
    "GoAway",
    "Hang",
    "Nonsense",
    "Refusal",
    "Step",
]
