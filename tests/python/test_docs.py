"""Links between the pages lead somewhere, and what the README shows can be run as it stands."""

from __future__ import annotations

import ast
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BINARY, private_folder
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "models/demo/sample.jpg"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split()]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        target = match[1] or match[2]
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def snippets(language: str, page: str = "README.md") -> list[str]:
    return [body for found, body in FENCE.findall((ROOT / page).read_text()) if found == language]


def test_readme_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = [line.split() for body in snippets("sh") for line in body.splitlines()]
    targets = [words[1] for words in commands if words[:1] == ["make"]]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme_python_runs(
    socket: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photo.jpg").write_bytes(SAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DERMALD_SOCKET", str(socket))
    scripts = [body for body in snippets("python") if "INSTALLED_APPS" not in body]
    assert scripts
    for script in scripts:
        exec(compile(script, "README.md", "exec"), {})
    assert "Ring" in capsys.readouterr().out
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_readme_command_line_runs(tmp_path: Path) -> None:
    """The first line serves; the others are asked of it, the last one until its first picture."""
    (tmp_path / "photo.jpg").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "models").symlink_to(ROOT / "models")
    (block,) = [body for body in snippets("sh") if "dermald serve" in body]
    serve, *others, watch = [["bash", "-c", f"exec {line}"] for line in block.splitlines()]
    with private_folder() as folder:
        environment = {
            **os.environ,
            "PATH": f"{BINARY.parent}:{os.environ['PATH']}",
            "DERMALD_SOCKET": str(folder / "d.sock"),
        }
        daemon = subprocess.Popen(serve, cwd=tmp_path, env=environment)
        try:
            ready = [str(BINARY), "health", "--wait", "30s"]
            for line in (ready, *others):
                subprocess.run(line, cwd=tmp_path, env=environment, check=True, timeout=60)
            assert "memory" in first_picture(watch, environment)
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


def first_picture(command: list[str], environment: dict[str, str]) -> str:
    """What a command draws on a terminal until that ends with a line, or within ten seconds."""
    ours, theirs = pty.openpty()
    drawn = b""
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs)
    os.close(theirs)
    try:
        deadline = time.monotonic() + 10
        while b"memory" not in drawn and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                drawn += os.read(ours, 65536)
    finally:
        process.terminate()
        process.wait(10)
        os.close(ours)
    return drawn.decode(errors="replace")


@pytest.mark.parametrize("script", snippets("python", "docs/cookbook.md"))
def test_cookbook_python_runs(
    script: str, socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.jpg").write_bytes(SAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DERMALD_SOCKET", str(socket))
    exec(compile(script, "docs/cookbook.md", "exec"), {"__name__": "cookbook"})
    if "green.jpg" in script:
        with Image.open("green.jpg") as drawn, Image.open("photo.jpg") as photo:
            assert drawn.size == photo.size


def test_vietnamese_readme_says_the_same_section_by_section() -> None:
    """The same sections in the same order, each with the same code, figures and links."""
    english, vietnamese = sections("README.md"), sections("README.vi.md")
    assert len(english) == len(vietnamese)
    for ours, theirs in zip(english, vietnamese, strict=True):
        title = theirs.partition("\n")[0]
        assert FENCE.findall(ours) == FENCE.findall(theirs), title
        assert table_figures(ours) == table_figures(theirs), title
        other = {"README.md", "README.vi.md"}
        links = [
            [link for pair in LINK.findall(text) for link in pair if link and link not in other]
            for text in (ours, theirs)
        ]
        assert links[0] == links[1], title


def sections(page: str) -> list[str]:
    return re.split(r"^#+ ", (ROOT / page).read_text(), flags=re.MULTILINE)


def table_figures(section: str) -> list[list[str]]:
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [re.findall(r"\d+(?:\.\d+)?", row) for row in rows]


def test_readme_django_lines_are_those_of_the_example_site() -> None:
    """The two lines are valid Python, and the example site lives on nothing else of ours."""
    lines = [body for body in snippets("python") if "INSTALLED_APPS" in body]
    assert len(lines) == 1
    ast.parse(lines[0])
    example = ROOT / "python-client/example"
    site = (example / "site_settings.py").read_text() + (example / "site_urls.py").read_text()
    for needed in ('"dermald.django"', 'include("dermald.django.urls")'):
        assert needed in lines[0]
        assert needed in site
