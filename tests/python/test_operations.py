"""The operations handbook knows every metric, error code, and line of the log that is a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import dermald
import pytest
from conftest import BINARY

ROOT = Path(__file__).resolve().parents[2]
HANDBOOK = (ROOT / "docs/operations.md").read_text()
ALERTS = (ROOT / "docs/alerts.yml").read_text()
# Its lines are about a command and are told in docs/run.md.
OF_THE_SUPERVISOR = "src/supervisor"
# `error!(fields, "message")`; messages that are made of values have none of their own.
LOGGED = re.compile(r'tracing::(?:error|warn)!\(\s*(?:[^;"]*?,\s*)?"((?:[^"\\]|\\.)*)"', re.DOTALL)


def test_every_metric_is_explained(socket: Path) -> None:
    with dermald.Client(socket) as client:
        client.predict(ROOT / "models/demo/sample.jpg")
        told = set(re.findall(r"^(dermald_\w+)[{ ]", client.metrics(), re.MULTILINE))
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
    assert len(names) >= 15
    assert [name for name in sorted(names) if f"`{name}" not in HANDBOOK] == []


def test_alerts_are_about_metrics_that_are_there(socket: Path) -> None:
    with dermald.Client(socket) as client:
        client.predict(ROOT / "models/demo/sample.jpg")
        told = set(re.findall(r"^(dermald_\w+)[{ ]", client.metrics(), re.MULTILINE))
    used = set(re.findall(r"\bdermald_\w+", ALERTS))
    assert used
    assert used - told == set()


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("NOT TESTED: promtool (Debian: apt-get install prometheus)")
    return found


def test_promtool_accepts_the_alerts(promtool: str) -> None:
    file = str(ROOT / "docs/alerts.yml")
    said = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_promtool_accepts_the_metrics(promtool: str, socket: Path) -> None:
    with dermald.Client(socket) as client:
        client.predict(ROOT / "models/demo/sample.jpg", explain="overlay")
    classic = [str(BINARY), "metrics", "--classic", "--socket", str(socket)]
    text = subprocess.run(classic, capture_output=True, check=True).stdout
    said = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stderr == b""


def test_no_counter_falls_over_a_renewal(socket: Path) -> None:
    with dermald.Client(socket) as client:
        client.predict(ROOT / "models/demo/sample.jpg", explain="overlay")
        before = counters(client.metrics())
        client.renew()
        after = counters(client.metrics())
    assert len(before) > 20
    assert {name: after.get(name, 0) for name in before if after.get(name, 0) < before[name]} == {}
    renewed = 'dermald_renewals_total{reason="asked"}'
    assert after[renewed] == before[renewed] + 1


def counters(metrics: str) -> dict[str, float]:
    kinds = ("_total", "_bucket", "_sum", "_count")
    lines = re.findall(r"^(dermald_\w+(?:{.*?})?) (\S+)$", metrics, re.MULTILINE)
    return {name: float(value) for name, value in lines if name.partition("{")[0].endswith(kinds)}


def test_every_line_that_asks_for_somebody_is_explained() -> None:
    lines = set()
    for file in (ROOT / "src").rglob("*.rs"):
        if OF_THE_SUPERVISOR in str(file):
            continue
        for text in LOGGED.findall(file.read_text()):
            lines.add(re.sub(r"\\\n\s*", "", text))
    lines = {line for line in lines if "{" not in line}
    assert len(lines) > 20
    assert [line for line in sorted(lines) if f"`{line}`" not in HANDBOOK] == []


def test_every_error_code_has_a_cure() -> None:
    protocol = (ROOT / "docs/protocol.md").read_text()
    table = protocol.split("## Error codes")[1].split("##")[0]
    codes = re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)
    section = HANDBOOK.split("\n## Error codes")[1].split("\n## ")[0]
    assert len(codes) > 15
    assert [code for code in codes if f"`{code}`" not in section] == []


def test_every_command_has_its_exit_codes() -> None:
    section = HANDBOOK.split("\n## Exit codes")[1].split("\n## ")[0]
    source = (ROOT / "src/cli/mod.rs").read_text()
    named = set(re.findall(r"`(\w+)`", section))
    assert {"serve", "health", "doctor", "check", "prepare", "run"} <= named
    assert "Exit codes: 0 it worked, 1 it did not, 2 wrong arguments" in source
