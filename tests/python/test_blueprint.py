"""render.yaml keeps the host's rules, and says what the first site's start command says."""

from __future__ import annotations

import copy
import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from blueprint_rules import faults
from conftest import ROOT

BLUEPRINT = yaml.safe_load((ROOT / "render.yaml").read_text())
SERVICE: dict[str, Any] = BLUEPRINT["services"][0]
HOST_WAITS_SECONDS = 30
# What the first site starts gunicorn with, and how long its workers have for their last answers.
OPTIONS = {
    "--workers": "1",
    "--threads": "2",
    "--worker-class": "gthread",
    "--timeout": "300",
    "--graceful-timeout": "15",
    "--max-requests": "100",
    "--max-requests-jitter": "10",
    "--worker-tmp-dir": "/dev/shm",
}


def test_blueprint_keeps_the_rules() -> None:
    assert list(faults(BLUEPRINT)) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"env": "python"}, "env: deprecated, use runtime"),
        ({"autoDeploy": False}, "autoDeploy: deprecated"),
        ({"plan": "hobby"}, "plan: 'hobby' is none of"),
        ({"disk": {"name": "d"}}, "disk: not on the free plan"),
        ({"preDeployCommand": "true"}, "preDeployCommand: not on the free plan"),
        ({"type": "worker"}, "plan: a worker cannot be free"),
        ({"startcommand": "gunicorn"}, "startcommand: no field"),
        ({"startCommand": None}, "startCommand: None is no text"),
        ({"healthCheckPath": "health/"}, "does not begin with /"),
        ({"envVars": [{"key": "OMP_NUM_THREADS", "value": 1}]}, "put it in quotes"),
        ({"envVars": [{"key": "A", "value": "1", "sync": False}]}, "has 2 sources"),
        ({"envVars": [{"key": "A"}]}, "has 0 sources"),
        ({"envVars": [{"key": "A", "value": "1"}] * 2}, "twice"),
        ({"envVars": [{"key": "PYTHON_VERSION", "value": "3.11"}]}, "not a whole version"),
        ({"envVars": [{"key": "RENDER", "value": "1"}]}, "set by the host"),
    ],
)
def test_rules_find_faults(change: dict[str, object], fault: str) -> None:
    blueprint = copy.deepcopy(BLUEPRINT)
    blueprint["services"][0].update(change)
    assert any(fault in found for found in faults(blueprint)), list(faults(blueprint))


def test_missing_field_is_found() -> None:
    blueprint = copy.deepcopy(BLUEPRINT)
    del blueprint["services"][0]["runtime"]
    assert list(faults(blueprint)) == ["runtime: is missing"]


def test_gunicorn_starts_with_the_options_of_the_first_site() -> None:
    procfile = re.search(r"^web: (.*)$", (ROOT / "docs/hosting.md").read_text(), re.MULTILINE)
    assert procfile is not None
    for command in (SERVICE["startCommand"], procfile[1]):
        words = shlex.split(command)
        given = dict(itertools.pairwise(words))
        assert {name: given.get(name) for name in OPTIONS} == OPTIONS
        assert "--no-control-socket" in words
        assert given["--bind"] == "0.0.0.0:$PORT"
        assert words[:2] == ["dermald", "run"]
        # The workers, gunicorn, and the daemon after it, before the host kills all.
        stop, grace = (int(given[name].removesuffix("s")) for name in ("--stop-timeout", "--grace"))
        assert int(given["--graceful-timeout"]) < stop
        assert stop + grace < HOST_WAITS_SECONDS


def test_what_the_commands_name_is_there() -> None:
    """Files and folders; not the bundle's own, which belongs to whoever copies the blueprint."""
    requirements = re.search(r"--requirement (\S+)", SERVICE["buildCommand"])
    assert requirements is not None
    assert (ROOT / requirements[1]).is_file()
    folder = re.search(r"--chdir (\S+)", SERVICE["startCommand"])
    assert folder is not None
    assert (ROOT / folder[1] / "site_wsgi.py").is_file()
    variables = {variable["key"]: variable.get("value") for variable in SERVICE["envVars"]}
    assert (ROOT / str(variables["DERMALD_BUNDLE"]) / "manifest.toml").is_file()


def test_requirements_are_those_that_are_tested() -> None:
    """The site on a host runs what the tests run, and the dermald of this repository."""
    tested = versions(ROOT / "tests/requirements.txt")
    hosted = versions(ROOT / "python-client/example/requirements.txt")
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert hosted.pop("dermald[django]") == version[1]
    assert hosted == {name: tested[name] for name in hosted}


def test_versions_of_all_parts_agree() -> None:
    """The daemon and the client are one wheel, and `[model]` names the tooling beside it."""
    version = r'^version = "(.*)"'
    projects = [ROOT / name / "pyproject.toml" for name in ("python-client", "models")]
    found = [re.findall(version, file.read_text(), re.MULTILINE) for file in projects]
    client = re.findall(
        r'^VERSION = "(.*)"',
        (ROOT / "python-client/src/dermald/_version.py").read_text(),
        re.MULTILINE,
    )
    cargo = re.findall(version, (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert found == [cargo, cargo]
    assert client == cargo
    assert f"dermald-model[tools]=={cargo[0]}" in projects[0].read_text()


def versions(requirements: Path) -> dict[str, str]:
    lines = [line for line in requirements.read_text().splitlines() if line[:1] not in ("", "#")]
    pairs = [line.split("==") for line in lines]
    return dict(pairs)
