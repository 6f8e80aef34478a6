"""A wheel as a site installs it: in a bare environment, with nothing of the repository, no Rust.

    python tests/release/bare.py WHEEL --onnxruntime VERSION [--into FOLDER]

Makes a virtual environment, installs the wheel and the pinned packages of the client's tests, and
that ONNX Runtime (`newest` for the newest that the wheel accepts). Without one variable that names
a library, the daemon in it prepares the demonstration model and answers; then the client's tests
run against it. Exits 0 when all of that passed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "python-client"
# Everything that the client's tests import or start beside the wheel itself.
PACKAGES = ["Babel", "django-health-check", "gunicorn", "pillow", "pytest"]
EXTRAS = "django,redis,celery,tasks-backport,backfill"
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
PATIENCE_SECONDS = 900


def main() -> None:
    options = parse_options()
    folder = options.into.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    install(folder, options)
    check_that_it_is_bare(folder)
    told = run([str(folder / "bin/python"), "-c", TELL], environment(folder))
    print(f"{options.wheel.name}, {told.strip()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dermald-bare-") as scratch:
        daemon_alone(folder, Path(scratch))
        client_tests(folder, Path(scratch))


TELL = """
import platform, importlib.metadata as installed
names = ("onnxruntime", "Django", "numpy")
told = [f"{name} {installed.version(name)}" for name in names]
print(f"Python {platform.python_version()}", *told, sep=", ")
"""


def install(folder: Path, options: argparse.Namespace) -> None:
    wanted = options.onnxruntime
    runtime = "onnxruntime" if wanted == "newest" else f"onnxruntime=={wanted}"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraint:
        # The versions that the tests run with otherwise, but for the one that is in question.
        lines = (ROOT / "tests/requirements.txt").read_text().splitlines()
        constraint.write("\n".join(line for line in lines if not line.startswith("onnxruntime")))
        constraint.flush()
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", "--constraint", constraint.name]
        run([*pip, f"dermald[{EXTRAS}] @ {options.wheel.resolve().as_uri()}", runtime, *PACKAGES])


def check_that_it_is_bare(folder: Path) -> None:
    for tool in ("cargo", "rustc"):
        if found := shutil.which(tool, path=environment(folder)["PATH"]):
            raise SystemExit(f"{found} is on the path: this would prove nothing about sites")


def daemon_alone(folder: Path, scratch: Path) -> None:
    """Nothing names the library, and the client is not there to find it."""
    daemon, bundle = folder / "bin/dermald", ROOT / "models/demo"
    settings = {**environment(folder), "DERMALD_CACHE": str(scratch / "cache")}
    run([str(daemon), "prepare", "--untimed", str(bundle)], settings)
    socket = scratch / "s" / "d.sock"
    with (scratch / "log").open("wb") as log:
        command = [str(daemon), "serve", "--socket", str(socket), "--bundle", str(bundle)]
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        asked = ["--socket", str(socket)]
        run([str(daemon), "health", *asked, "--wait", "30s"], settings)
        said = run([str(daemon), "predict", str(bundle / "sample.jpg"), *asked], settings)
    finally:
        process.terminate()
        process.wait(30)
    ring = re.search(r"^.*\bring\b.*$", said, re.IGNORECASE | re.MULTILINE)
    if not ring:
        raise SystemExit(f"the demonstration's photo shows a ring, and the daemon said:\n{said}")
    print(f"the daemon alone: {ring[0].strip()}", flush=True)


def client_tests(folder: Path, scratch: Path) -> None:
    settings = {
        **environment(folder),
        "TEST_DERMALD": str(folder / "bin/dermald"),
        "DERMALD_CACHE": str(scratch / "cache"),
    }
    command = [str(folder / "bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(CLIENT / "pyproject.toml"), str(CLIENT / "tests")]
    if subprocess.run(command, env=settings, cwd=ROOT, timeout=PATIENCE_SECONDS).returncode:
        raise SystemExit("the client's tests failed on the installed wheel")


def environment(folder: Path) -> dict[str, str]:
    """No variable of whoever runs this but where temporary files go."""
    kept = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    path = f"{folder}/bin:{SYSTEM}"
    return {**kept, "HOME": str(folder), "LANG": "C.UTF-8", "PATH": path}


def run(command: list[str], settings: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=settings, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="the wheel to install")
    parser.add_argument("--onnxruntime", default="newest", help="its version, or newest")
    parser.add_argument(
        "--into", type=Path, default=ROOT / "target/bare", help="the environment; made anew"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
