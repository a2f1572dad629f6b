"""Cases with a name each, a line for each, and a sum at the end."""

import os
import pathlib
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


class Cases:
    """Runs one case after the other; a case fails by raising."""

    def __init__(self):
        self.passed, self.failed = 0, 0

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
