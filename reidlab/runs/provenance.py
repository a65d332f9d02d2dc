"""What a number depends on besides its settings: code, libraries, machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from reidlab.common import paths

LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "pillow")


def environment(device: str) -> dict[str, Any]:
    """Commit, versions, device, processor, threads."""
    return {
        "commit": git_commit(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "device": device,
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
    }


def git_commit() -> str:
    """Commit of the checkout, marked ``+changes`` when tracked source files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = _git("status", "--porcelain", "--untracked-files=no", "--", "reidlab")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit[:12]}+changes" if dirty else commit[:12]


def hardware() -> str:
    """Name of the GPU, else of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
