"""Headless Chromium walks the example sites with a real daemon, photographs it and judges it.

    .venv-shots/bin/python tests/shots/walk.py --daemon target/release/dermald \
        --bundle models/demo --axe axe.min.js --output build/shots

Every scene is seen through every look (looks.py) and judged (judge.py). Exits 1 when something is
wrong. What cannot be judged is for a person: look at the pictures.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import clinic_scenes
import scenes
from judge import Judge, require_a_fit_judge
from looks import LOOKS, Look
from playwright.sync_api import Browser, Error, Page, sync_playwright
from running import Site, running_site
from scenes import Scene, make_history, sign_in

PATIENCE_MS = 30_000
WITH_DAEMON = (*scenes.WITH_DAEMON, *clinic_scenes.WITH_DAEMON)
WITHOUT_DAEMON = (*scenes.WITHOUT_DAEMON, *clinic_scenes.WITHOUT_DAEMON)


def main() -> int:
    arguments = parse_arguments()
    began = time.monotonic()
    try:
        wrong, seen = walk(arguments)
    except (OSError, RuntimeError, Error) as error:
        print(f"The walk failed: {error}", file=sys.stderr)
        return 1
    for finding in wrong:
        print(finding)
    seconds = time.monotonic() - began
    print(f"{seen} pages looked at in {seconds:.0f} s, {len(wrong)} findings: {arguments.output}")
    return 1 if wrong else 0


def walk(arguments: argparse.Namespace) -> tuple[list[str], int]:
    """What is wrong, and how many pages were looked at."""
    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    binary, bundle = arguments.daemon.resolve(), arguments.bundle.resolve()
    with chromium(arguments.chromium) as browser, running_site(binary, bundle) as site:
        with window(browser, LOOKS[0]) as page:
            require_a_fit_judge(page, arguments.axe)
        with window(browser, LOOKS[0]) as page:
            make_history(page, site)
        before, after = (chosen(part, arguments.only) for part in (WITH_DAEMON, WITHOUT_DAEMON))
        if not before + after:
            raise RuntimeError(f"No scene's name contains {arguments.only!r}.")
        wrong = act(browser, site, before, arguments)
        site.daemon.terminate()
        wrong += act(browser, site, after, arguments)
    return wrong, len(LOOKS) * len(before + after)


def chosen(scenes: Sequence[Scene], part: str) -> list[Scene]:
    return [scene for scene in scenes if part in scene.name]


def act(
    browser: Browser, site: Site, scenes: Sequence[Scene], arguments: argparse.Namespace
) -> list[str]:
    """Every scene through every look; visitors first, then the same person signed in."""
    wrong = []
    for look in LOOKS:
        with window(browser, look) as page:
            judge = Judge(page, arguments.axe)
            signed_in = False
            for scene in sorted(scenes, key=lambda scene: scene.staff):
                if scene.staff and not signed_in:
                    sign_in(page, site)
                    signed_in = True
                name = f"{scene.name}-{look.name}"
                found = play(page, site, scene, judge)
                page.screenshot(path=arguments.output / f"{name}.png", full_page=True)
                wrong += [f"{name}: {finding}" for finding in found]
    return wrong


def play(page: Page, site: Site, scene: Scene, judge: Judge) -> list[str]:
    """What is wrong with the scene; that it does not come about is a finding as well."""
    judge.begin()
    try:
        scene.act(page, site)
    except (AssertionError, Error) as error:
        # What the console says may tell why.
        log = f"{error}\nThe site's log ends with:\n{site.log()}"
        return [log, *judge.findings(scene.status)]
    return judge.findings(scene.status)


@contextmanager
def chromium(binary: Path) -> Iterator[Browser]:
    # A sandbox of its own needs another user than root, who may run this.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=binary, chromium_sandbox=False, args=["--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, look: Look) -> Iterator[Page]:
    """A browser that knows nobody yet."""
    context = browser.new_context(**look.context())
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context.new_page()
    finally:
        context.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Screenshots of the example sites, judged by axe.")
    parser.add_argument("--daemon", type=Path, required=True, help="the dermald binary")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the model bundle")
    parser.add_argument("--axe", type=Path, required=True, help="axe.min.js of axe-core")
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    parser.add_argument("--only", default="", help="scenes whose name contains this")
    parser.add_argument("--output", type=Path, default=Path("build/shots"), help="emptied first")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
