"""As much of a browser as the demonstration needs: a form, its CSRF token, an upload.

Standard library only.
"""

from __future__ import annotations

import http.client
import re
import secrets
from collections.abc import Mapping
from http.cookies import SimpleCookie
from pathlib import Path

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class UploadError(Exception):
    """The site did not answer as a visitor would want it to; `status` is what it answered with."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Visitor:
    """Keeps the cookies of one site. `headers` come with every request: what a proxy adds."""

    def __init__(
        self, host: str, port: int, timeout: float, headers: Mapping[str, str] | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._cookies: dict[str, str] = {}

    def get(self, path: str) -> str:
        """The page. Raises `UploadError` for another status than 200, `OSError` for no answer."""
        return self._ask("GET", path, None, {"Accept": "text/html"})

    def upload(self, path: str, photo: Path, accept: str) -> str:
        """Loads the form, sends the photo in it, and returns the answer."""
        token = _TOKEN.search(self.get(path))
        if token is None:
            raise UploadError(f"The page {path} holds no form.")
        boundary = secrets.token_hex(16)
        body = _multipart(boundary, token.group(1), photo)
        content_type = f"multipart/form-data; boundary={boundary}"
        return self._ask("POST", path, body, {"Accept": accept, "Content-Type": content_type})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> str:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            sent = {**self._headers, **headers, "Cookie": self._cookie_header()}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        for header in response.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(header).items():
                self._cookies[name] = morsel.value
        if response.status != 200:
            raise UploadError(
                f"{method} {path} was answered {response.status}: {text[:2000]}", response.status
            )
        return text

    def _cookie_header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())


def _multipart(boundary: str, token: str, photo: Path) -> bytes:
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
        f"{token}\r\n"
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
