"""The daemon as a check of django-health-check (version 4), for sites that have it:

    HealthCheckView.as_view(checks=["dermald.django.health_check.DermaldDaemon"])

Nothing else here imports this module.
"""

from __future__ import annotations

import dataclasses
import datetime

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from .conf import DEFAULT_ALIAS
from .views.state import GOOD, PROBE_SECONDS, adaemon_state

# It will predict soon, or the next daemon will.
_PASSING = ("starting", "stopping")


@dataclasses.dataclass
class DermaldDaemon(HealthCheck):  # type: ignore[misc]  # it comes without types
    """Whether the daemon of `settings.DERMALD[alias]` answers predictions. One that renews itself
    does; one that starts or stops is a warning."""

    alias: str = DEFAULT_ALIAS
    # Above the client's own, which tells more.
    timeout = datetime.timedelta(seconds=PROBE_SECONDS + 1)

    async def run(self) -> None:
        state = await adaemon_state(self.alias)
        if state in GOOD:
            return
        if state in _PASSING:
            raise ServiceWarning(f"The daemon is {state}.")
        raise ServiceUnavailable(f"The daemon is {state}.")
