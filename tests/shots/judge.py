"""What is wrong with a page: rules of axe, errors in the console, a page wider than its window.

axe comes over the DevTools protocol and not as a script of the page, which the page's content
security policy would refuse (and Playwright's own `evaluate` with it, which calls `eval`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, ConsoleMessage, Page, Response

# A page that is wrong in all three ways.
_WRONG = """<!doctype html><html lang="en"><title>Wrong</title><main><h1>Wrong</h1>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">
<div style="width: 3000px">wide</div></main><script>console.error("wrong")</script></html>"""
_WRONG_SHOWS = ("axe image-alt", "console", "px wide")


class Judge:
    """Listens to a page from the moment it is made."""

    def __init__(self, page: Page, axe: Path) -> None:
        self._page = page
        self._axe = axe.read_text(encoding="utf-8")
        self._devtools: CDPSession = page.context.new_cdp_session(page)
        self._errors: list[tuple[str, str]] = []
        self._status: int | None = None
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._errors.append((page.url, f"script: {error}")))
        page.on("response", self._note_status)

    def begin(self) -> None:
        """Forgets what was before."""
        self._errors.clear()
        self._status = None

    def findings(self, status: int | None = 200) -> list[str]:
        """All that is wrong with the page as it is now; `status` is the one it should have."""
        return [
            *self._wrong_status(status),
            *(f"console: {text}" for text in self._unexpected(status)),
            *self._too_wide(),
            *self._violations(),
        ]

    def _wrong_status(self, status: int | None) -> list[str]:
        return [] if self._status == status else [f"answered {self._status}, not {status}"]

    def _unexpected(self, status: int | None) -> list[str]:
        """Chromium reports every page of an error's status, the wanted one as well."""
        wanted = f"the server responded with a status of {status}"
        return [
            text
            for url, text in self._errors
            if not (status != 200 and url == self._page.url and wanted in text)
        ]

    def _too_wide(self) -> list[str]:
        window = self._page.viewport_size
        width = self._evaluate("document.documentElement.scrollWidth")
        if window is None or width <= window["width"]:
            return []
        return [f"the page is {width} px wide in a window of {window['width']} px"]

    def _violations(self) -> list[str]:
        self._evaluate(f"{self._axe}; undefined")
        told: Any = json.loads(
            self._evaluate(
                "axe.run(document, {resultTypes: ['violations']})"
                ".then(told => JSON.stringify(told.violations))"
            )
        )
        return [
            f"axe {rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:160]}"
            for rule in told
            for node in rule["nodes"]
        ]

    def _evaluate(self, expression: str) -> Any:
        said = self._devtools.send(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True},
        )
        if "exceptionDetails" in said:
            raise RuntimeError(f"The page refuses what is asked: {said['exceptionDetails']}")
        return said["result"].get("value")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._errors.append((message.location["url"], message.text))

    def _note_status(self, response: Response) -> None:
        request = response.request
        if request.is_navigation_request() and response.frame == self._page.main_frame:
            self._status = response.status


def require_a_fit_judge(page: Page, axe: Path) -> None:
    """Raises `RuntimeError` when a page that is wrong in every way is not found to be: then silence
    would mean nothing."""
    judge = Judge(page, axe)
    page.set_content(_WRONG)
    found = judge.findings(None)
    missed = [sign for sign in _WRONG_SHOWS if not any(sign in finding for finding in found)]
    if missed:
        raise RuntimeError(f"A wrong page was not found wrong: {missed} is missing in {found}")
