"""Make the virtual environment and install darkroom into it, with one line that says how far it is. Standard library only."""

import argparse
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Create the environment if it is missing, then install; returns pip's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--extras", default="host,worker,rehearsal")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  the first thing that a stranger's older Python runs
        sys.exit(f"darkroom needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")
    python = options.venv / "bin" / "python"
    started = time.monotonic()
    if not python.exists():
        _say("making the virtual environment", started)
        venv.create(options.venv, with_pip=True)
    return _install(python, options.extras, started)


def _install(python: Path, extras: str, started: float) -> int:
    # The torch of constraints.txt first and by itself: a range would take the newest build with gigabytes of CUDA.
    command = [
        str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off",
        "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extras}]",
    ]  # fmt: skip
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    assert pip.stdout is not None
    lines: list[str] = []
    found = 0
    for line in pip.stdout:
        lines.append(line)
        if collecting := re.match(r"\s*(?:Collecting|Requirement already satisfied:) (\S+)", line):
            found += 1
            _say(f"installing: {found} packages found, now {collecting[1][:30]}", started)
        elif line.startswith("Installing collected packages"):
            _say(f"installing: putting {line.count(',') + 1} packages in place", started)
    status = pip.wait()
    if status:
        sys.stdout.write("\n" + "".join(lines[-25:]))
        sys.stdout.write("\nThe installation stopped here. Is the package index reachable, and the disk not full?\n")
    else:
        _say("installed", started)
        sys.stdout.write("\n")
    return status


def _say(what: str, started: float) -> None:
    end = "\r" if sys.stdout.isatty() else "\n"
    text = f"  {time.monotonic() - started:4.0f} s  {what}"
    if sys.stdout.isatty() or not what.startswith("installing: ") or "putting" in what:
        sys.stdout.write(f"{text:<100}{end}")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
