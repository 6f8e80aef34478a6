"""The units under systemd itself: in a container with systemd 252 as its process 1.

    python tests/systemd/prove.py --daemon FILE [--renewals N]

Makes a root of Debian 12 with mmdebstrap, has `make install` fill it, boots it with systemd-nspawn
and proves one thing after another. Exit code 1 when something is not as it should be; 0 when
everything is, and also, after one line that says so, when this machine cannot make or boot a root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import living
import root
import starting
from looking import DAEMON, Options
from machine import Machine
from root import CannotProveError

WORK = root.REPOSITORY / "target/units"
PROOFS = starting.PROOFS + living.PROOFS
# The program that is needed, and the Debian package that brings it.
NEEDED = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--daemon", type=Path, required=True, help="the binary to install")
    parser.add_argument("--renewals", type=int, default=50, help="how many under load (50)")
    options = parser.parse_args()
    try:
        get_what_is_needed()
        place = root.make(WORK, options.daemon)
        with Machine.booted(place, WORK / "console.log") as machine:
            return prove(machine, Options(options.renewals))
    except CannotProveError as error:
        print(f"NOT PROVEN: the units under systemd ({error})")
        return 0


def get_what_is_needed() -> None:
    """Raises `CannotProveError`, saying what to install."""
    if os.geteuid() != 0:
        raise CannotProveError("needs root")
    WORK.mkdir(parents=True, exist_ok=True)
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    with (WORK / "apt.log").open("wb") as log:
        for command in (["apt-get", "update", "-q"], install):
            if (
                not shutil.which(command[0])
                or subprocess.run(
                    command, stdout=log, stderr=subprocess.STDOUT, check=False
                ).returncode
            ):
                raise CannotProveError(f"Debian: apt-get install {' '.join(missing)}")


def prove(machine: Machine, options: Options) -> int:
    """Stops at the first that fails: the next ones build on it."""
    print(machine.do("systemctl", "--version").splitlines()[0])
    for proof in PROOFS:
        name = proof.__name__.replace("_", " ")
        began = time.monotonic()
        try:
            seen = proof(machine, options)
        except (AssertionError, RuntimeError) as error:
            print(f"NO  {name}: {error}")
            print(machine.run("journalctl", "--no-pager", f"--unit={DAEMON}", "--lines=40").stdout)
            return 1
        print(f"ok  {name} ({time.monotonic() - began:.1f} s): {seen}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
