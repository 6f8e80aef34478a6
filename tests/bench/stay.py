"""A tenant's stay in the box: it starts, somebody uploads photos, and what became of it."""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import dermald
from box import Box, Kernel, Limits
from subjects import ROOT
from tenants import Running, Tenant, started
from watch import Sample, Watch, cpu_seconds

sys.path.insert(0, str(ROOT / "python-client" / "example"))

# The path is made above, where mypy does not look.
from browser import (  # type: ignore[import-not-found,unused-ignore]
    UploadError,
    Visitor,
)

# How long anybody waits for an answer. With a tenth of a processor, TensorFlow's import alone takes
# half a minute.
PATIENCE_SECONDS = 180.0
COME_BACK_LATER = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
RENEWALS = re.compile(r"^dermald_renewals_total(?:\{[^}]*\})? (\d+)", re.MULTILINE)
STAGE = re.compile(r'^dermald_stage_seconds_sum\{stage="(\w+)"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Used:
    """What was used until a moment, or between two: seconds by name."""

    # Of processors, by process.
    cpu: dict[str, float] = field(default_factory=dict)
    # By stage of a prediction, on the daemon's own clock.
    stages: dict[str, float] = field(default_factory=dict)

    @classmethod
    def by(cls, tenant: Tenant, pids: list[int]) -> Used:
        used = cls()
        for pid in pids:
            # gunicorn replaces a worker that has answered enough.
            with suppress(OSError):
                name = tenant.name_of(pid)
                used.cpu[name] = used.cpu.get(name, 0.0) + cpu_seconds(pid)
        if tenant.socket:
            found = STAGE.findall(metrics(tenant.socket))
            used.stages.update((stage, float(seconds)) for stage, seconds in found)
        return used

    def since(self, before: Used) -> Used:
        return Used(
            {name: seconds - before.cpu.get(name, 0.0) for name, seconds in self.cpu.items()},
            {name: seconds - before.stages.get(name, 0.0) for name, seconds in self.stages.items()},
        )


@dataclass
class Stay:
    """Times are in seconds since the start command, unless said otherwise."""

    tenant: Tenant
    samples: list[Sample] = field(default_factory=list)
    kernel: Kernel | None = None
    # The share of its time slices in which the box wanted more than it has.
    throttled: float = 0.0
    # When the page of the site and the daemon answered.
    healthy: float | None = None
    # How long each upload took, loading the form included, and when it was answered.
    answers: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    # How often the first visitor was asked to come back later.
    refused: int = 0
    # For all answers but the first.
    used: Used = field(default_factory=Used)
    base: Used = field(default_factory=Used)
    # When the daemon was found to have renewed itself; None when it does not tell.
    renewals: list[float] | None = None
    # What ended it before the last answer.
    fate: str | None = None

    @property
    def first(self) -> float | None:
        return self.answers[0] if self.answers else None

    @property
    def later(self) -> list[float]:
        return self.answers[1:]


def stay(tenant: Tenant, limits: Limits, photos: list[Path], uploads: int, log: Path) -> Stay:
    """`uploads` photos, one after the other. Raises `NoBoxError`."""
    story = Stay(tenant)
    with Box.made(limits) as box, Watch(box.pids, tenant.name_of) as watch:
        with started(tenant, box.enter([]), log) as running:
            visitor = Visitor("127.0.0.1", running.port, PATIENCE_SECONDS, tenant.headers)
            try:
                wait_until_healthy(visitor, tenant, running)
                story.healthy = watch.now()
                for number in range(uploads):
                    upload(story, visitor, photos[number % len(photos)], watch)
                    look(story, box, watch.now())
            except (OSError, RuntimeError, UploadError, dermald.DermaldError) as error:
                story.fate = fate(error, story, box.kernel(), watch.now(), log)
            story.kernel, story.throttled = box.kernel(), box.throttled()
        story.samples = list(watch.samples)
    return story


def wait_until_healthy(visitor: Visitor, tenant: Tenant, running: Running) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    # A listening socket that was there before takes the connection at once; the answer comes when
    # gunicorn is up.
    while True:
        try:
            visitor.get(tenant.health or tenant.page)
            break
        except ConnectionRefusedError:
            if time.monotonic() > until or not running.goes_on():
                raise
            time.sleep(0.05)
    while tenant.socket:
        with suppress(dermald.Unreachable), dermald.Client(str(tenant.socket)) as client:
            if client.health().ready:
                return
        if time.monotonic() > until:
            raise RuntimeError("the daemon is not ready")
        time.sleep(0.05)


def upload(story: Stay, visitor: Visitor, photo: Path, watch: Watch) -> None:
    began = watch.now()
    while True:
        try:
            visitor.upload(story.tenant.page, photo, "text/html")
            break
        except UploadError as error:
            # "Come back later", which the first visitor of a model that is being prepared may hear.
            if error.status not in COME_BACK_LATER or story.answers:
                raise
            if watch.now() - began > PATIENCE_SECONDS:
                raise
            story.refused += 1
            time.sleep(1)
    story.answers.append(watch.now() - began)
    story.answered.append(watch.now())


def look(story: Stay, box: Box, now: float) -> None:
    """What has been used since the first answer, and whether the daemon has renewed itself."""
    used = Used.by(story.tenant, box.pids())
    if not story.later:
        story.base = used
    story.used = used.since(story.base)
    counts = RENEWALS.findall(metrics(story.tenant.socket)) if story.tenant.socket else []
    if counts:
        story.renewals = story.renewals or []
        story.renewals += [now] * (sum(map(int, counts)) - len(story.renewals))


def metrics(socket: Path) -> str:
    with dermald.Client(str(socket)) as client:
        return client.metrics()


def fate(error: Exception, story: Stay, kernel: Kernel, now: float, log: Path) -> str:
    answers = len(story.answers)
    when = f"after {now:.0f} s, " + (f"after answer {answers}" if answers else "before any answer")
    if kernel.kills:
        return f"killed by the kernel {when}"
    if isinstance(error, TimeoutError):
        # Everything that the kernel can take back is needed again at once: it kills nobody, and
        # nobody gets anywhere.
        return (
            f"given up {when}: none came within {PATIENCE_SECONDS:g} s, in which the kernel killed "
            f"nobody and took {kernel.read_again:,.0f} MB of files back that had to be read again"
        )
    end = log.read_text(errors="replace")[-1500:]
    return f"failed {when}: {error}; its log ends with:\n{end}"
