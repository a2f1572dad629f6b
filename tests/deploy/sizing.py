"""How much memory the sidecar needs: the most that its container ever had, for each kind of load.

Not a test: it has no limit to hold. deploy/README.md has the figures. Each row is a pod of its own.
"""

import contextlib
import pathlib
import subprocess
import time

from cases import install
from containers import IMAGE, PACKAGES, Podman, build_application, build_image
from image import peak_of
from pod import Shop

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{{"mobile":"8613800000000","msg":"' .. string.rep("x", {size}) .. '"}}'
"""


def main():
    """Prints a table."""
    install({**PACKAGES, "wrk": "wrk"})
    podman = Podman()
    try:
        build_image(podman, "-t", IMAGE)
        build_application(podman)
        print("| load | calls/s | CPU of the sidecar | peak of memory |\n| --- | --- | --- | --- |")
        for words, options in LOADS.items():
            print(f"| {words} | {row(podman, **options)} |", flush=True)
    finally:
        podman.remove()


LOADS = {
    "none": {"connections": 0},
    "16 connections, 1 kB": {"connections": 16},
    "64 connections, 1 kB": {"connections": 64},
    "1,000 connections, 1 kB": {"connections": 1000},
    "2,000 connections, 1 kB": {"connections": 2000},
    "64 connections, 64 kB": {"connections": 64, "size": 65_000},
    "64 connections, 1 MB": {"connections": 64, "size": 1_000_000},
    "200 connections, 64 kB": {"connections": 200, "size": 65_000},
    "500 connections, 64 kB": {"connections": 500, "size": 65_000},
    "200 connections, 64 kB, InnoPaaS takes 2 s": {"connections": 200, "size": 65_000, "act": {"slow-head": {"ms": 2000}}},
}


def row(podman, connections, size=1000, act=None):
    """Calls for ten seconds in a new pod with room for whatever it takes."""
    with pod(podman) as shop:
        name = shop.name("innopaas-proxy")
        pid = shop.podman.inspect(name)["State"]["Pid"]
        calls, cpu = "", ""
        if act:
            shop.sandbox("POST", "act", {"act": act})
        if connections:
            script = podman.folder / "wrk.lua"
            script.write_text(SCRIPT.format(size=size))
            before = ticks(pid)
            said = subprocess.run(
                ["nsenter", "-t", str(shop.pid), "-n", "wrk", "-t1", "-d10", "--timeout", "20", f"-c{connections}", "-s", script,
                 "http://127.0.0.1:7253/api/sms/v3/msg/send"], check=True, capture_output=True, text=True,
            ).stdout
            used = (ticks(pid) - before) / 100
            calls = next(line.split()[1] for line in said.splitlines() if line.startswith("Requests/sec"))
            cpu = f"{used / 10:.2f}"
            calls += "".join(f", {line.strip()}" for line in said.splitlines() if "Non-2xx" in line or "Socket" in line)
        else:
            time.sleep(10)
        return f"{calls} | {cpu} | {peak_of(pid)}"


@contextlib.contextmanager
def pod(podman):
    """The pod of pod.py, without the memory limit, and with everything started."""
    shop = Shop(podman, memory="1Gi")
    try:
        shop.create()
        shop.begin()
        shop.start("innopaas-proxy")
        podman("exec", shop.name("innopaas-proxy"), "/innopaas-proxy", "wait")
        yield shop
    finally:
        shop.remove()


def ticks(pid):
    """User and system time of a process so far, in hundredths of a second."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    main()
