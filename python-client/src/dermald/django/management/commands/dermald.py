"""`manage.py dermald health|status|predict|wait|serve|backfill|requeue`: the daemon as the settings
see it, and the work that is left for it."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import get_language

from ...._client import socket_path
from ...._errors import DermaldError, Unreachable, UntrustedDaemon
from ...backfill import BackfillError, backfill, column_of
from ...clients import get_client, get_probe
from ...conf import DEFAULT_ALIAS, daemon_settings
from ...serving import SERVE, ServeError, serve
from ...status.snapshot import read_snapshot
from ...task_checks import APP as BACKGROUND_APP
from ..progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...predictions import Options

_MIB = 2**20
_PROBE_SECONDS = 5.0
_WAIT_PAUSE = 0.2


class Command(BaseCommand):
    help = "Asks the dermald daemon of this site, or runs one beside runserver."
    # A wrong setting is told by whatever is asked; a broken site shall still be able to ask.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        about = "whether the daemon predicts; fails when it does not, and says what to do"
        _with_alias(actions.add_parser("health", help=about))
        status = _with_alias(actions.add_parser("status", help="what the daemon says of itself"))
        status.add_argument("--json", action="store_true", help="all of it, for programs")
        predict = _with_alias(actions.add_parser("predict", help="classify one photo"))
        predict.add_argument("photo", type=Path)
        predict.add_argument("--overlay", type=Path, help="write where the model looked, as PNG")
        predict.add_argument("--top-k", type=int, default=0, help="classes to show; 0 for all")
        predict.add_argument("--language", help="of the classes; default: the site's")
        wait = _with_alias(actions.add_parser("wait", help="return once the daemon predicts"))
        wait.add_argument("--timeout", type=float, default=60.0, help="seconds (default 60)")
        about = "run a daemon in the foreground, for local development"
        run = _with_alias(actions.add_parser("serve", help=about))
        run.add_argument(
            "--bundle", type=Path, help="model bundle; default: BUNDLE, $DERMALD_BUNDLE"
        )
        run.add_argument("--daemon", type=Path, help="the binary; default: found by itself")
        run.add_argument(
            "--runserver", nargs="?", const="", metavar="ADDRPORT", help="and the site with it"
        )
        run.add_argument("options", nargs="*", help="after --, further options of the daemon")
        about = "classify the pictures of existing rows; goes on where it was"
        fill = _with_alias(actions.add_parser("backfill", help=about))
        fill.add_argument("image", metavar="APP.MODEL.IMAGE_FIELD")
        fill.add_argument(
            "--result", required=True, metavar="FIELD", help="a JSONField with null=True"
        )
        fill.add_argument(
            "--jobs",
            type=int,
            default=2,
            help="at once (default 2: one is read while another is computed)",
        )
        fill.add_argument("--limit", type=int, help="rows at most")
        fill.add_argument("--explain", choices=["values"], help="keep the heatmap's numbers too")
        fill.add_argument("--top-k", type=int, default=0, help="classes to keep; 0 for all")
        fill.add_argument("--language", help="of the classes' titles")
        about = "send again the background predictions that were lost on the way"
        again = _with_alias(actions.add_parser("requeue", help=about))
        again.add_argument("--all", action="store_true", help="that are unfinished, overdue or not")
        again.add_argument(
            "--failed",
            action="store_true",
            help="and those that failed for good, but for their picture's sake",
        )
        again.add_argument("--every", type=float, metavar="SECONDS", help="and stay")

    def handle(self, *_: Any, action: str, alias: str, **options: Any) -> None:  # noqa: ANN401
        with _told_in_words():
            getattr(self, f"_{action}")(alias, options)

    def _health(self, alias: str, _: dict[str, Any]) -> None:
        health = get_probe(alias).health(timeout=_PROBE_SECONDS)
        line = f"{health.state}: {health.message}"
        if not health.ready and health.state != "renewing":
            raise CommandError(line)
        self.stdout.write(self.style.SUCCESS(line))
        self._compare(alias)

    def _compare(self, alias: str) -> None:
        """What only a running daemon can tell about the settings."""
        explains = daemon_settings(alias).explain is not None
        model = get_probe(alias).status(timeout=_PROBE_SECONDS).get("model")
        if explains and isinstance(model, dict) and model.get("explains") is False:
            text = "EXPLAIN asks for what the daemon's model does not make: it has no Grad-CAM."
            self.stdout.write(self.style.WARNING(text))

    def _status(self, alias: str, options: dict[str, Any]) -> None:
        told = get_probe(alias).status(timeout=_PROBE_SECONDS)
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2, ensure_ascii=False))
            return
        seen = read_snapshot(told, get_language())
        threshold = seen.memory.threshold
        limit = f", renewed past {threshold / _MIB:.0f}" if threshold else ""
        lines = [
            f"state       {seen.state}: {seen.message}",
            f"daemon      {seen.version}, up for {seen.uptime_seconds:.0f} s, "
            f"{seen.connections} connections",
            f"memory      {seen.memory.rss / _MIB:.1f} MiB{limit}",
        ]
        if seen.queue:
            lines.append(f"queue       {seen.queue.requests} of {seen.queue.limit_requests}")
        if seen.model:
            loaded = "loaded" if seen.model.loaded else "not loaded"
            lines.append(f"model       {seen.model.name} {seen.model.version}, {loaded}")
            lines.append(f"classes     {', '.join(seen.model.labels)}")
        counts = ", ".join(f"{code} {count}" for code, count in seen.outcomes)
        lines.append(f"answers     {counts or 'none yet'}")
        self.stdout.write("\n".join(lines))

    def _predict(self, alias: str, options: dict[str, Any]) -> None:
        overlay: Path | None = options["overlay"]
        answer = get_client(alias).predict(
            options["photo"],
            top_k=options["top_k"],
            explain="overlay" if overlay else None,
            language=options["language"] or get_language(),
        )
        for label in answer.labels:
            self.stdout.write(f"{label.probability:7.1%}  {label.title}")
        if answer.notice:
            self.stdout.write(answer.notice)
        if overlay and answer.overlay:
            overlay.write_bytes(answer.overlay.data)
        elif overlay:
            raise CommandError(f"There is no overlay. {answer.explanation or ''}".rstrip())

    def _wait(self, alias: str, options: dict[str, Any]) -> None:
        end = time.monotonic() + options["timeout"]
        while True:
            said = self._not_ready(alias, max(0.1, end - time.monotonic()))
            if said is None:
                self.stdout.write(self.style.SUCCESS("ready"))
                return
            if time.monotonic() >= end:
                raise CommandError(
                    f"The daemon is not ready after {options['timeout']:g} s. {said}"
                )
            time.sleep(min(_WAIT_PAUSE, max(0.0, end - time.monotonic())))

    @staticmethod
    def _not_ready(alias: str, seconds: float) -> str | None:
        """Why; None when it is. Raises what waiting does not help."""
        try:
            health = get_probe(alias).health(timeout=min(_PROBE_SECONDS, seconds))
        except UntrustedDaemon:
            raise
        except DermaldError as error:
            return error.message
        if health.state == "failed":
            raise CommandError(f"failed: {health.message}")
        return None if health.ready else f"{health.state}: {health.message}"

    def _serve(self, alias: str, options: dict[str, Any]) -> None:
        daemon = daemon_settings(alias)
        try:
            code = serve(
                Path(socket_path(daemon.socket)),
                binary=options["daemon"],
                bundle=options["bundle"] or daemon.bundle,
                options=options["options"],
                runserver=options["runserver"],
                tell=self.stdout.write,
            )
        except ServeError as error:
            raise CommandError(str(error)) from error
        if code:
            raise CommandError("The daemon ended; its last lines say why.", returncode=code)

    def _backfill(self, alias: str, options: dict[str, Any]) -> None:
        column = column_of(options["image"], options["result"])
        limit: int | None = options["limit"]
        pending = column.pending().count()
        total = pending if limit is None else min(pending, limit)
        question: Options = {key: options[key] for key in ("top_k", "explain", "language")}  # type: ignore[assignment]  # the three that Options has
        rows = backfill(
            column, alias=alias, jobs=max(1, options["jobs"]), limit=limit, options=question
        )
        left = 0
        for row in progress(rows, total, self.stderr):
            if row.code is not None:
                left += 1
                self.stdout.write(f"{column.model._meta.label} {row.pk}: {row.code}")
        told = f"{total - left} of {total} rows have their answer."
        if left:
            raise CommandError(f"{told} The others, told above, are tried again by the next run.")
        self.stdout.write(self.style.SUCCESS(told))

    def _requeue(self, alias: str, options: dict[str, Any]) -> None:
        if not apps.is_installed(BACKGROUND_APP):
            raise CommandError(
                f"{BACKGROUND_APP} is not in INSTALLED_APPS: nothing is queued here."
            )
        from ...background import requeue

        while True:
            done = requeue(alias, everything=options["all"], failed=options["failed"])
            told = f"{done.sent} sent again"
            if done.refused and not options["every"]:
                raise CommandError(f"{told}; then the queue took no more. The log says why.")
            if done.sent or not options["every"]:
                self.stdout.write(told)
            if not options["every"]:
                return
            time.sleep(options["every"])


def _with_alias(parser: ArgumentParser) -> ArgumentParser:
    about = "entry of settings.DERMALD (default: %(default)s)"
    parser.add_argument("--alias", default=DEFAULT_ALIAS, help=about)
    return parser


@contextmanager
def _told_in_words() -> Iterator[None]:
    try:
        yield
    except Unreachable as error:
        hint = f"For local development: {SERVE}"
        raise CommandError(f"{error.message}\n{hint}") from error
    except (DermaldError, BackfillError, ImproperlyConfigured, OSError) as error:
        raise CommandError(str(error)) from error
