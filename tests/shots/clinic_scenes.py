"""The way through the clinic, as a patient goes it: each photo is one that a phone stored sideways.

Nothing here needs the scripts but the slider; `python-client/tests/test_clinic.py` goes without.
"""

from __future__ import annotations

from clinic_process import Clinic
from playwright.sync_api import Locator, Page, expect
from running import PATIENT, Site
from scenes import Scene, move_slider

_LANGUAGE_COOKIE = "django_language"
# Of the photo and of its overlay, which have the same sides but for the rounding to whole pixels.
_RATIO_TOLERANCE = 0.01


def login(page: Page, site: Site) -> None:
    page.context.clear_cookies()
    page.goto(f"{site.clinic.address}/login/")


def upload(page: Page, site: Site, clinic: Clinic | None = None) -> None:
    """The form, in the language of the browser; signs in by the keyboard if need be."""
    address = (clinic or site.clinic).address
    page.context.clear_cookies(name=_LANGUAGE_COOKIE)
    page.goto(f"{address}/")
    if "/login/" in page.url:
        page.fill("[name=username]", PATIENT)
        page.fill("[name=password]", site.password)
        with page.expect_navigation():
            page.keyboard.press("Enter")


def send(page: Page, site: Site, *, keep: bool) -> None:
    page.set_input_files("[name=image]", site.sideways)
    page.set_checked("[name=keep]", keep)
    with page.expect_navigation():
        page.click("form.card button")


def not_kept(page: Page, site: Site) -> None:
    upload(page, site)
    send(page, site, keep=False)
    require_upright(page)


def no_picture(page: Page, site: Site) -> None:
    upload(page, site)
    notes = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo\n" * 9}
    page.set_input_files("[name=camera]", notes)
    with page.expect_navigation():
        page.click("form.card button")


def waiting(page: Page, site: Site) -> None:
    """No worker comes: the page asks, and asks again."""
    upload(page, site, site.waiting)
    send(page, site, keep=True)
    for _ in range(2):
        with page.expect_response(lambda answer: "/state/" in answer.url) as asked:
            pass
        if asked.value.json()["state"] != "waiting":
            raise AssertionError(f"It does not wait: {asked.value.json()}")


def result(page: Page, site: Site) -> None:
    upload(page, site)
    send(page, site, keep=True)
    require_upright(page)


def slider(page: Page, site: Site) -> None:
    open_kept(page, site)
    move_slider(page)


def why_not(page: Page, site: Site) -> None:
    open_kept(page, site)
    caption = page.locator("figcaption").last
    before = caption.inner_text()
    link = page.locator("section[aria-labelledby=why] a").last
    with page.expect_navigation():
        link.press("Enter")
    if caption.inner_text() == before:
        raise AssertionError(f"Another class was asked for, and it still says: {before}")
    require_upright(page)


def language(page: Page, site: Site) -> None:
    """The other one than the browser's."""
    open_kept(page, site)
    before = page.locator("h1").inner_text()
    other = page.locator("button[name=language]:not([aria-current])")
    code = other.get_attribute("value") or ""
    with page.expect_navigation():
        other.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", code)
    if page.locator("h1").inner_text() == before:
        raise AssertionError(f"In both languages the page says: {before}")


def history(page: Page, site: Site) -> None:
    open_kept(page, site)
    page.goto(f"{site.clinic.address}/history/")
    expect(page.locator("time").first).to_be_visible()


def deleted(page: Page, site: Site) -> None:
    """All, one after the other."""
    history(page, site)
    kept = page.locator("time")
    while count := kept.count():
        with page.expect_navigation():
            page.locator("form[action$='/delete/'] button").first.press("Enter")
        expect(kept).to_have_count(count - 1)
        expect(page.locator(".notice[role=status]")).to_be_visible()


def open_kept(page: Page, site: Site) -> None:
    """The kept photo that was looked at last, or a new one."""
    upload(page, site)
    page.goto(f"{site.clinic.address}/history/")
    kept = page.locator("main li a")
    if kept.count() == 0:
        result(page, site)
        return
    with page.expect_navigation():
        kept.first.click()
    require_upright(page)


def require_upright(page: Page) -> None:
    """The sideways photo stands, and its overlay with it."""
    page.wait_for_selector(".pictures.joined img")
    photo, overlay = (ratio(page.locator(".pictures img").nth(place)) for place in (0, 1))
    if photo >= 1 or abs(photo - overlay) > _RATIO_TOLERANCE:
        raise AssertionError(f"Width by height is {photo} of the photo, {overlay} of the overlay.")


def ratio(image: Locator) -> float:
    """Width by height as the browser turns it, once it is decoded."""
    sides = image.evaluate_handle(
        "async image => { await image.decode(); return [image.naturalWidth, image.naturalHeight]; }"
    ).json_value()
    return float(sides[0] / sides[1])


WITH_DAEMON = (
    Scene("clinic-login", login),
    Scene("clinic-upload", upload),
    Scene("clinic-not-kept", not_kept),
    Scene("clinic-no-picture", no_picture, status=422),
    Scene("clinic-waiting", waiting),
    Scene("clinic-result", result),
    Scene("clinic-slider", slider),
    Scene("clinic-why-not", why_not),
    Scene("clinic-language", language),
    Scene("clinic-history", history),
    Scene("clinic-deleted", deleted),
)


def upload_in_vain(page: Page, site: Site) -> None:
    upload(page, site)
    send(page, site, keep=True)


WITHOUT_DAEMON = (Scene("clinic-no-daemon", upload_in_vain, status=503),)
