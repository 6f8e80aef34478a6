"""What is proven of a daemon that runs. Each proof returns what was seen, or raises."""

from __future__ import annotations

import time

from looking import (
    DAEMON,
    LABEL,
    MIB,
    PATH,
    PHOTO,
    PROGRAMS,
    SITE,
    SOCKET,
    Options,
    Proof,
    ask,
    changed,
    demand,
    kernel_limit,
    load,
    running,
    status,
)
from machine import Machine

CONNECTIONS = 4
# What the daemon holds with the demonstration's model is less; with the picture below it is more.
FEW_MIB = 48
STRANGER = f"{PROGRAMS}/stranger.py"
# 28 megapixels of one colour, 84 MB when decoded.
LARGE_PICTURE = """
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
header = struct.pack(">IIBBBBB", 7000, 4000, 8, 2, 0, 0, 0)
rows = zlib.compress((b"\\0" + b"\\x80" * 3 * 7000) * 4000, 1)
with open("/tmp/large.png", "wb") as file:
    file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header))
    file.write(chunk(b"IDAT", rows) + chunk(b"IEND", b""))
"""


def strangers_are_kept_out(machine: Machine, _: Options) -> str:
    """Another user can neither connect, nor take the socket's place, nor reach the daemon."""
    ask(machine)
    said = machine.do("python3", STRANGER, "try", user="stranger").splitlines()
    demand("not refused", [line for line in said if not line.endswith(": refused")], [])
    with running(
        machine, "python3", STRANGER, "pretend", user="stranger", first="listening"
    ) as other:
        command = ["dermald", "predict", PHOTO, "--socket=/dev/shm/pretend.sock"]
        asked = machine.run(*command, user=SITE)
        demand("the client", (asked.returncode, "nothing was sent" in asked.stdout), (1, True))
        demand("who pretends", other.communicate(timeout=60)[0], "sent 0 bytes\n")
    for command, why in ((["renew"], "not_allowed"), (["renew", "--reload"], "only root")):
        asked = machine.run("dermald", *command, user=SITE)
        demand(f"a site's {command}", (asked.returncode, why in asked.stdout), (1, True))
    return f"{len(said)} attempts of another user refused; who pretends to be it is sent nothing"


def reload_tells_what_came_of_it(machine: Machine, _: Options) -> str:
    def limit() -> object:
        return status(machine)["queue"]["limit_requests"]

    pid = machine.pid(DAEMON)
    with changed(machine, "queue_requests = 9"):
        machine.do("systemctl", "reload", DAEMON)
        demand("the new setting", limit(), 9)
    with changed(machine, "queue_requests = 0"):
        demand("a bad one", machine.run("systemctl", "reload", DAEMON).returncode, 1)
        demand("what is in force", limit(), 9)
    machine.do("systemctl", "reload", DAEMON)
    demand("as before", limit(), 64)
    demand("the process", machine.pid(DAEMON), pid)
    return "in force when systemctl returned; a bad one failed and changed nothing"


def renewals_lose_nothing(machine: Machine, options: Options) -> str:
    """Every other one is a reload."""
    pid, before = machine.pid(DAEMON), status(machine)
    with load(machine, CONNECTIONS) as end:
        began = time.monotonic()
        for number in range(options.renewals):
            machine.do(*(["dermald", "renew"] if number % 2 else ["systemctl", "reload", DAEMON]))
        took = time.monotonic() - began
        seen = end()
    after = status(machine)
    made = [sum(told["renewals"]["counts"].values()) for told in (before, after)]
    answered = [told["outcomes"].get("ok", 0) for told in (before, after)]
    asked = seen["outcomes"].get(LABEL, 0)
    before_all, after_all = (told["renewals"]["carried"] for told in (before, after))
    carried = {what: after_all[what] - before_all[what] for what in after_all}
    demand("requests that waited crossed over", carried["queued"] > 0, True)
    demand("what came of requests", list(seen["outcomes"]), [LABEL])
    demand("renewals", made[1] - made[0], options.renewals)
    demand("the count over all images", answered[1] - answered[0], asked)
    demand(
        "process and restarts", (machine.pid(DAEMON), machine.show(DAEMON, "NRestarts")), (pid, "0")
    )
    return (
        f"{options.renewals} renewals in {took:.0f} s, all {asked} requests on {CONNECTIONS} "
        f"connections answered, after {seen['longest'] * 1000:.0f} ms at most; crossed: {carried}"
    )


def upgrade_is_a_reload(machine: Machine, _: Options) -> str:
    """Another file in the binary's place, as `make install` puts one there."""
    pid, binary = machine.pid(DAEMON), "/usr/local/bin/dermald"
    machine.do("cp", binary, f"{binary}.new")
    machine.do("mv", f"{binary}.new", binary)
    exe = f"/proc/{pid}/exe"
    demand("the old one runs", machine.do("readlink", exe), f"{binary} (deleted)")
    machine.do("systemctl", "reload", DAEMON)
    demand("the new one runs", (machine.pid(DAEMON), machine.do("readlink", exe)), (pid, binary))
    return "the file in the binary's place runs, in the same process"


def frozen_daemon_is_replaced(machine: Machine, _: Options) -> str:
    pid = machine.pid(DAEMON)
    machine.do("python3", "-c", f"import os, signal; os.kill({pid}, signal.SIGSTOP)")
    began = time.monotonic()
    # Who asks meanwhile waits, and is answered by the next one.
    demand("a request meanwhile", ask(machine), LABEL)
    took = time.monotonic() - began
    demand("another process", machine.pid(DAEMON) != pid, True)
    demand("restarts", machine.show(DAEMON, "NRestarts"), "1")
    demand("by the watchdog", "Watchdog timeout" in machine.journal(DAEMON), True)
    return f"stopped by SIGSTOP, restarted by the watchdog; who asked meanwhile waited {took:.0f} s"


def memory_limit_is_in_force(machine: Machine, _: Options) -> str:
    demand("in the kernel", kernel_limit(machine), 1024 * MIB)
    machine.do("systemctl", "set-property", "--runtime", DAEMON, f"MemoryMax={FEW_MIB}M")
    demand("lowered", kernel_limit(machine), FEW_MIB * MIB)
    demand("enough for a photo", ask(machine), LABEL)
    pid, restarts = machine.pid(DAEMON), int(machine.show(DAEMON, "NRestarts"))
    machine.do("python3", "-c", LARGE_PICTURE)
    # Not by the client, which would try it again and kill the next one too.
    machine.run("dermald", "predict", "/tmp/large.png", user=SITE)
    wanted = str(restarts + 1)
    machine.until("a restart", lambda: machine.show(DAEMON, "NRestarts") == wanted)
    demand("another process", machine.pid(DAEMON) != pid, True)
    demand("killed", "code=killed, status=9/KILL" in machine.journal(DAEMON), True)
    machine.do("systemctl", "set-property", "--runtime", DAEMON, "MemoryMax=1G")
    demand("well again", ask(machine), LABEL)
    return f"1024 MiB in the kernel; killed by a large picture in {FEW_MIB} MiB, and restarted"


def stop_is_clean(machine: Machine, _: Options) -> str:
    with load(machine, CONNECTIONS) as end:
        began = time.monotonic()
        machine.do("systemctl", "stop", SOCKET, DAEMON)
        took = time.monotonic() - began
        outcomes = end()["outcomes"]
    told = {name.split(":")[0] for name in outcomes}
    demand("answered, told, or nobody there", told - {LABEL, "GoingAway", "Unreachable"}, set())
    shown = [machine.show(DAEMON, name) for name in ("Result", "ExecMainStatus", "MainPID")]
    demand("result, exit code, process", shown, ["success", "0", "0"])
    demand("the socket is gone", machine.run("test", "-e", PATH).returncode, 1)
    left = machine.run("find", "/proc", "-maxdepth", "1", "-user", "dermald").stdout.strip()
    demand("processes left", left, "")
    return f"{took * 1000:.0f} ms under load, exit code 0; socket and processes are gone"


def folder_that_was_there_first_is_taken(machine: Machine, _: Options) -> str:
    """Before the first installation anybody may make it, and put a socket into it."""
    machine.do("rm", "-r", "/dev/shm/dermald")
    machine.do("mkdir", "-m", "777", "/dev/shm/dermald", user="stranger")
    bind = f"import socket; socket.socket(socket.AF_UNIX).bind({PATH!r})"
    machine.do("python3", "-c", bind, user="stranger")
    machine.do("systemd-tmpfiles", "--create")
    machine.do("systemctl", "start", DAEMON)
    shown = machine.do("stat", "--format=%U:%G %a", "/dev/shm/dermald", PATH).splitlines()
    demand("owners and modes", shown, ["root:root 755", "root:dermald 660"])
    demand("the photo", ask(machine), LABEL)
    return "a folder and a socket of another user became root's by systemd-tmpfiles and a start"


PROOFS: list[Proof] = [
    strangers_are_kept_out,
    reload_tells_what_came_of_it,
    renewals_lose_nothing,
    upgrade_is_a_reload,
    frozen_daemon_is_replaced,
    memory_limit_is_in_force,
    stop_is_clean,
    folder_that_was_there_first_is_taken,
]
