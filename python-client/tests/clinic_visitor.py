"""Somebody with a browser at the clinic: cookies, redirects and forms, without scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

PATIENCE_SECONDS = 60.0
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
Field = str | SimpleUploadedFile
Fields = Mapping[str, Field]


@dataclass(frozen=True)
class Page:
    """What came at last, after redirects. path: where that was."""

    status: int
    path: str
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Visitor:
    def __init__(self, address: str, language: str = "en") -> None:
        self._address = address
        self._language = language
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Page:
        return self._ask(path, None)

    def post(self, path: str, form: str | None = None, fields: Fields | None = None) -> Page:
        """Sends the form of the page `form`, by default of the one that it is sent to."""
        token = _TOKEN.search(self.get(form or path).text)
        assert token is not None, f"no form at {form or path}"
        return self._ask(path, {"csrfmiddlewaretoken": token[1], **(fields or {})})

    def sign_in(self, name: str, password: str) -> Visitor:
        page = self.post("/login/", fields={"username": name, "password": password})
        assert page.path == "/", page.text
        return self

    def upload(self, photo: Path | bytes, **fields: Field) -> Page:
        data = photo if isinstance(photo, bytes) else photo.read_bytes()
        return self.post("/", fields={"image": SimpleUploadedFile("my mole.jpg", data), **fields})

    def keep(self, photo: Path | bytes) -> str:
        """The path of the kept photo's page."""
        page = self.upload(photo, keep="on")
        assert page.status == 200, page.text
        assert page.path.startswith("/photos/")
        return page.path

    def _ask(self, path: str, fields: Fields | None) -> Page:
        request = Request(self._address + path)
        request.add_header("Accept-Language", self._language)
        request.add_header("Accept", "text/html")
        if fields is not None:
            request.data = encode_multipart(BOUNDARY, dict(fields))
            request.add_header("Content-Type", MULTIPART_CONTENT)
        try:
            answer = self._opener.open(request, timeout=PATIENCE_SECONDS)
        except HTTPError as error:
            answer = error
        with answer:
            path = answer.url.removeprefix(self._address)
            return Page(answer.status, path, answer.headers, answer.read())
