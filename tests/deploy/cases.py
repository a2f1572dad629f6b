"""Cases with a name each, a line for each, and a sum at the end; and what every part needs for them."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# The static program, as `tests/deploy/run` names it.
BINARY = pathlib.Path(
    os.environ.get("INNOPAAS_PROXY_BINARY", TARGET / "x86_64-unknown-linux-gnu/release/innopaas-proxy")
).resolve()


class Cases:
    """Runs one case after the other; a case fails by raising."""

    def __init__(self):
        self.passed, self.failed = 0, 0
        # Who stops a run wants what it started stopped as well: `finally` does not know signals.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))

    def run(self, name, case, *arguments):
        """Answers what the case answers, and None if it failed. What it answers as text is shown."""
        try:
            result = case(*arguments)
        except Exception as error:
            self.failed += 1
            frames = traceback.extract_tb(error.__traceback__)
            print(f"FAIL {name}: {error or type(error).__name__} ({frames[-1].name}:{frames[-1].lineno})", flush=True)
            return None
        self.passed += 1
        print(f"ok   {name}" + (f": {result}" if isinstance(result, str) else ""), flush=True)
        return result

    def end(self):
        """Ends the process: 1 if anything failed, or if nothing ran."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def run(*command, **options):
    """What a command prints, on both; raises with it if the command fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=180, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}: {done.stdout.strip()}"
    return done.stdout.strip()


def eventually(condition, seconds=30):
    """What the condition answers once that is true; until then it may also raise."""
    end, word = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            answer = condition()
            if answer:
                return answer
        except (AssertionError, OSError) as error:
            word = f": {error}"
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s{word}")


def install(packages):
    """Installs the Debian package of each program, or file, that is not there."""
    there = lambda program: shutil.which(program) or os.path.isfile(program)
    missing = sorted({package for program, package in packages.items() if not there(program)})
    if missing:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=quiet)
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=quiet)
