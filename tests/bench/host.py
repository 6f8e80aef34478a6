"""The host that render.yaml is written for, as far as a site can see it: its folders, its
variables, its private /dev/shm. Runs the blueprint's commands as they stand there, in a mount
namespace of their own; needs root. Knows nothing of memory and processors, see `box`.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from subjects import ROOT

# Where this host puts the repository and its virtual environment.
HOME = "/opt/render"
PROJECT = f"{HOME}/project/src"
ENVIRONMENT = f"{PROJECT}/.venv"
BUILD_PATIENCE_SECONDS = 900.0
# What processors came to have, newest first; see src/model/prepared/host.rs for what names one.
GENERATIONS = (("avx512", "avx_vnni", "amx_"), ("avx2", "fma"), ("ssse3", "sse4_1", "avx"))

# Files of the host outside of it stay as they are: all mounts end with the last process.
ENTER = """
set -e
mount --bind "$1" /dev/shm
mount -t tmpfs tmpfs /opt
mkdir -p "$5"
mount --bind "$2" "$5"
[ -z "$3" ] || mount --bind "$3" /proc/cpuinfo
cd "$5"
eval "exec env -i $4 /bin/sh -c \\"\\$6\\""
"""


@dataclass(frozen=True)
class Service:
    """What a blueprint says of its first service."""

    name: str
    build: str
    start: str
    health: str
    # As in the file, in its order.
    variables: dict[str, str]

    @classmethod
    def read(cls, blueprint: Path) -> Service:
        service = yaml.safe_load(blueprint.read_text(encoding="utf-8"))["services"][0]
        variables = {variable["key"]: _value(variable) for variable in service["envVars"]}
        return cls(
            service["name"],
            service["buildCommand"],
            service["startCommand"],
            service["healthCheckPath"],
            variables,
        )

    @property
    def hostname(self) -> str:
        return f"{self.name}.onrender.com"

    @property
    def visitor_headers(self) -> dict[str, str]:
        """What the host's proxy adds, and what a browser says of the page that it came from."""
        return {
            "Host": self.hostname,
            "Origin": f"https://{self.hostname}",
            "X-Forwarded-Proto": "https",
        }


@dataclass(frozen=True)
class Host:
    """One service on it, in `folder`, which becomes what the host calls its project."""

    service: Service
    folder: Path
    # Stands for /dev/shm: a folder of a tmpfs that the service has to itself.
    shared: Path
    port: int

    def clone(self, bundle: Path, wheel: Path) -> None:
        """The repository as it is checked out, with a site's own model where the blueprint names
        one, and a wheel that is not published where it says."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        place = self.folder / self.service.variables["DERMALD_BUNDLE"]
        shutil.rmtree(place)
        shutil.copytree(bundle, place)
        (self.folder / "wheels").mkdir()
        shutil.copy(wheel, self.folder / "wheels")

    def build(self, cpuinfo: Path | None = None) -> float:
        """Makes the virtual environment as the host does, then runs the build command. With
        `cpuinfo`, on a machine that tells this of its processor. Seconds of the build command."""
        # Copied, so that no process outside has the same pages of the interpreter mapped.
        self._run(shlex.join([sys.executable, "-m", "venv", "--copies", ENVIRONMENT]))
        started = time.monotonic()
        self._run(self.service.build, cpuinfo)
        return time.monotonic() - started

    def deploy(self) -> None:
        """Packs what was built and unpacks it where it is to run: each file is another then."""
        unpacked = self.folder.with_name(f"{self.folder.name}-unpacked")
        shutil.copytree(self.folder, unpacked, symlinks=True)
        shutil.rmtree(self.folder)
        unpacked.rename(self.folder)

    def start(self) -> str:
        """The start command, with everything that the host sees to before."""
        return shlex.join(self._inside(self.service.start, None))

    @property
    def daemon(self) -> Path:
        return self.folder / ".venv" / "bin" / "dermald"

    @property
    def socket(self) -> Path:
        """The daemon's, by its name outside."""
        return self.shared / "dermald" / "dermald.sock"

    def _run(self, command: str, cpuinfo: Path | None = None) -> None:
        done = subprocess.run(
            self._inside(command, cpuinfo),
            capture_output=True,
            text=True,
            timeout=BUILD_PATIENCE_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{command} failed:\n{(done.stdout + done.stderr)[-3000:]}")

    def _inside(self, command: str, cpuinfo: Path | None) -> list[str]:
        settings = " ".join(
            f"{name}={shlex.quote(value)}" for name, value in self._environment().items()
        )
        unshare = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "host"]
        places = [str(self.shared), str(self.folder), str(cpuinfo or "")]
        return [*unshare, *places, settings, PROJECT, command]

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": HOME,
            "LANG": "C.UTF-8",
            "PATH": f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin",
            "PORT": str(self.port),
            "RENDER": "true",
            "RENDER_EXTERNAL_HOSTNAME": self.service.hostname,
            "WEB_CONCURRENCY": "1",
            **self.service.variables,
        }


def older_processor(folder: Path) -> Path:
    """/proc/cpuinfo of a machine like ours without its newest instructions."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    for newest in GENERATIONS:
        older = "\n".join(_without(newest, line) for line in told.splitlines()) + "\n"
        if older != told:
            file = folder / "cpuinfo"
            file.write_text(older, encoding="utf-8")
            return file
    raise RuntimeError("/proc/cpuinfo tells no instructions that an older processor lacks")


def _without(newest: tuple[str, ...], line: str) -> str:
    if not line.startswith("flags"):
        return line
    return " ".join(word for word in line.split(" ") if not word.startswith(newest))


def _value(variable: dict[str, Any]) -> str:
    return secrets.token_urlsafe(32) if variable.get("generateValue") else str(variable["value"])
