"""The way through the site: each scene brings a page to what is then looked at.

A scene is a function of page and site. Another page of the site is another line in `SCENES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page
from running import STAFF, Site

RENEWALS = 3


@dataclass(frozen=True)
class Scene:
    """status: what the page must be answered with. staff: seen by somebody who is signed in."""

    name: str
    act: Callable[[Page, Site], None]
    status: int = 200
    staff: bool = False


def sign_in(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/login/")
    page.fill("[name=username]", STAFF)
    page.fill("[name=password]", site.password)
    page.click("button[type=submit]")
    page.wait_for_url(f"{site.address}/skin/")


def make_history(page: Page, site: Site) -> None:
    """Uploads with renewals between them, so that the status page has something to tell."""
    for _ in range(RENEWALS):
        upload(page, site)
        send_photo(page, site)
        site.renew()
    upload(page, site)
    send_photo(page, site)


def upload(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/skin/")


def send_photo(page: Page, site: Site) -> None:
    page.set_input_files("#image", site.photo)
    with page.expect_navigation():
        page.click("button[type=submit]")


def result(page: Page, site: Site) -> None:
    upload(page, site)
    send_photo(page, site)
    page.wait_for_selector(".pictures.joined img")


def slider(page: Page, site: Site) -> None:
    """To its end by the keyboard: nothing of the heatmap is left."""
    result(page, site)
    move_slider(page)


def move_slider(page: Page) -> None:
    page.focus(".slider input")
    page.keyboard.press("End")
    overlay = page.locator(".pictures img").last
    clip = overlay.evaluate_handle("image => getComputedStyle(image).clipPath").json_value()
    if "100%" not in clip:
        raise AssertionError(f"The slider moves nothing: the heatmap is cut by {clip}.")


def no_picture(page: Page, site: Site) -> None:
    upload(page, site)
    page.set_input_files(
        "#image", {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo\n" * 9}
    )
    with page.expect_navigation():
        page.click("button[type=submit]")


def status(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/skin/status/")


def status_of(daemon: str) -> Callable[[Page, Site], None]:
    def act(page: Page, site: Site) -> None:
        page.goto(f"{site.address}/{daemon}/status/")
        if page.locator("svg.chart[role=img]").count() == 0:
            raise AssertionError("There is no chart.")

    return act


def upload_in_vain(page: Page, site: Site) -> None:
    upload(page, site)
    send_photo(page, site)


WITH_DAEMON = (
    Scene("upload", upload),
    Scene("result", result),
    Scene("slider", slider),
    Scene("no-picture", no_picture, status=422),
    Scene("status", status, staff=True),
    Scene("status-busy-hour", status_of("busy"), staff=True),
    Scene("status-idle-day", status_of("idle"), staff=True),
)
WITHOUT_DAEMON = (
    Scene("no-daemon", upload_in_vain, status=503),
    Scene("no-daemon-staff", upload, staff=True),
    Scene("no-daemon-status", status, staff=True),
)
