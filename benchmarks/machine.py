"""What is measured on, and what a server's processes cost, out of /proc."""

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that it started, those that are still there."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text("ascii")
        except OSError:
            continue
        found.append(one)
        waiting += [int(word) for word in children.split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far."""
    total = 0
    for one in family(pid):
        try:
            text = Path(f"/proc/{one}/stat").read_text("ascii")
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def pss_mib(pid: int) -> float:
    """Memory of a process and its children, what they share counted once, in MiB."""
    total = 0
    for one in family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text("ascii")
        except OSError:
            continue
        match = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        total += int(match[1]) if match else 0
    return total / 1024


def _first_line(*command: str) -> str:
    """What a program says of its version; empty if it is not there."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return (done.stdout or done.stderr).strip().partition("\n")[0][:120]


def _file_system(path: Path) -> str:
    """The type of the file system that a path is on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    within = [row for row in mounts if path.resolve().is_relative_to(row[1])]
    return max(within, key=lambda row: len(row[1]))[2]


def description(memory: Path, disk: Path) -> dict[str, str]:
    """The machine and the versions of everything that takes part."""
    cpu = Path("/proc/cpuinfo").read_text("utf-8")
    model = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    total = re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(total[1]) >> 20} GiB" if total else "",
        "kernel": platform.release(),
        "file systems": f"{_file_system(memory)} (memory), {_file_system(disk)} (disk)",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "gunicorn": version("gunicorn"),
        "werkzeug": version("werkzeug"),
        "wrk": _first_line("wrk", "-v"),
        "nginx": _first_line("nginx", "-v"),
    }
