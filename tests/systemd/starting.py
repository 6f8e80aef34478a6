"""What is proven of units, users, folders and the start. Each returns what was seen, or raises.

They build on each other: the machine is as booted before the first, and each leaves the daemon
running and well.
"""

from __future__ import annotations

import re
import time

from looking import (
    DAEMON,
    LABEL,
    PATH,
    SITE,
    SOCKET,
    Options,
    Proof,
    ask,
    changed,
    demand,
    status,
)
from machine import Machine

SECOND = "dermald@second.service"
# In tenths, as --threshold takes it: an exposure of 1.0.
MOST_EXPOSURE_TENTHS = 10
PAGE = (
    "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/').read().decode())"
)


def units_are_sound(machine: Machine, _: Options) -> str:
    """Silent, also about what it would only warn of."""
    names = [SOCKET, DAEMON, "dermald@second.socket", SECOND, "gunicorn.service"]
    demand(
        "it is silent",
        machine.do("systemd-analyze", "verify", "--recursive-errors=yes", *names),
        "",
    )
    return f"systemd-analyze verify: silent about {len(names)} units"


def service_is_locked_up(machine: Machine, _: Options) -> str:
    exposures = []
    for unit in (DAEMON, SECOND):
        threshold = f"--threshold={MOST_EXPOSURE_TENTHS}"
        said = machine.do("systemd-analyze", "security", "--offline=true", threshold, unit)
        exposures += re.findall(r"exposure level for \S+: ([0-9.]+)", said)
    demand("two figures", len(exposures), 2)
    return f"systemd-analyze security: exposure {' and '.join(exposures)}"


def user_and_folders_were_made(machine: Machine, _: Options) -> str:
    """At boot, by systemd-sysusers and systemd-tmpfiles."""
    name, _password, uid, *_rest = machine.do("getent", "passwd", "dermald").split(":")
    demand("a system user", (name, int(uid) < 1000), ("dermald", True))
    shown = machine.do("stat", "--format=%U:%G %a", "/dev/shm/dermald", "/var/lib/dermald", PATH)
    expected = ["root:root 755", "root:root 755", "root:dermald 660"]
    demand("owners and modes", shown.splitlines(), expected)
    return f"user {uid}; folders root's; socket root:dermald 660"


def first_connection_starts_it(machine: Machine, _: Options) -> str:
    demand("before", machine.show(DAEMON, "ActiveState"), "inactive")
    began = time.monotonic()
    label = ask(machine)
    took = time.monotonic() - began
    demand("the photo", label, LABEL)
    demand("after", machine.show(DAEMON, "ActiveState"), "active")
    owners = ["/var/cache/dermald", f"/proc/{machine.pid(DAEMON)}"]
    demand("cache and process", machine.do("stat", "--format=%U", *owners).split(), ["dermald"] * 2)
    demand("the model was prepared", status(machine)["model"]["prepared"], True)
    return f"inactive until {SITE} connected; prepared the model and answered in {took:.1f} s"


def start_returns_when_ready(machine: Machine, _: Options) -> str:
    machine.do("systemctl", "stop", DAEMON, SOCKET)
    began = time.monotonic()
    machine.do("systemctl", "start", DAEMON)
    took = time.monotonic() - began
    demand("its status", machine.show(DAEMON, "StatusText"), "serving dermald-demo")
    demand("health", machine.do("dermald", "health", user=SITE).split(":")[0], "ready")
    return f"systemctl start returned after {took * 1000:.0f} ms, with status and health"


def bad_configuration_fails_the_start(machine: Machine, _: Options) -> str:
    machine.do("systemctl", "stop", DAEMON, SOCKET)
    # The starts until here count too.
    machine.do("systemctl", "reset-failed", DAEMON)
    with changed(machine, "queue_requests = 0"):
        demand("the start", machine.run("systemctl", "start", DAEMON).returncode, 1)
        machine.until("it is given up", lambda: failed(machine, DAEMON) and failed(machine, SOCKET))
        times = machine.journal(DAEMON).count('queue_requests is "0"')
        demand("starts", times, 7)
    machine.do("systemctl", "reset-failed", DAEMON, SOCKET)
    machine.do("systemctl", "start", DAEMON)
    demand("well again", ask(machine), LABEL)
    return f"given up after {times} starts, the socket closed; the fault is in the journal"


def several_models_are_served(machine: Machine, _: Options) -> str:
    paths = (PATH, "/dev/shm/dermald/second.sock")
    names = [status(machine, path)["model"]["name"] for path in paths]
    demand("two models", names, ["dermald-demo", "second"])
    demand("two services", machine.show(SECOND, "ActiveState"), "active")
    machine.do("systemctl", "reload", SECOND)
    demand("its own reload", [reloads(machine, path) for path in paths], [0, 1])
    machine.do("systemctl", "stop", "dermald@second.socket", SECOND)
    return "dermald@second beside dermald, each with its own socket, configuration and model"


def site_starts_after_it(machine: Machine, _: Options) -> str:
    machine.do("systemctl", "stop", DAEMON, SOCKET)
    with changed(machine, "preload = true"):
        machine.do("systemctl", "start", "gunicorn.service")
        ready = int(machine.show(DAEMON, "ActiveEnterTimestampMonotonic"))
        begun = int(machine.show("gunicorn.service", "ExecMainStartTimestampMonotonic"))
        demand("the daemon was ready first", 0 < ready < begun, True)
        waited = "ready: the model is loaded" in machine.journal("gunicorn.service")
        demand("the site waited for the model", waited, True)
        demand("the site's page", machine.do("python3", "-c", PAGE), LABEL)
        machine.do("systemctl", "stop", "gunicorn.service")
    machine.do("systemctl", "restart", DAEMON)
    return f"gunicorn began {(begun - ready) / 1000:.0f} ms after readiness, with the model loaded"


def reloads(machine: Machine, path: str) -> object:
    return status(machine, path)["renewals"]["counts"].get("reload", 0)


def failed(machine: Machine, unit: str) -> bool:
    return machine.show(unit, "ActiveState") == "failed"


PROOFS: list[Proof] = [
    units_are_sound,
    service_is_locked_up,
    user_and_folders_were_made,
    first_connection_starts_it,
    start_returns_when_ready,
    bad_configuration_fails_the_start,
    several_models_are_served,
    site_starts_after_it,
]
