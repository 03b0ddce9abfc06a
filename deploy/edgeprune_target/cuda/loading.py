"""Find libcudart in the loader's path, in CUDA's own folders, or in NVIDIA's wheels."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

# JetPack 4 has 10.2, 5 has 11.0 (11.4's name), 6 has 12, 7 has 13 (devices.md 6).
NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/aarch64-linux/lib")
WHEELS = ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib")


def load_library() -> Any:
    """Load libcudart by ctypes.

    Raises:
        OSError: it is not on this machine.
    """
    for place in [*NAMES, *places()]:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise OSError(f"there is no {NAMES[0]} (no CUDA runtime is installed)")


def places() -> list:
    """Return the candidate files outside the loader's own path."""
    folders = [Path(folder) for folder in FOLDERS]
    folders += [Path(entry) / wheel for entry in sys.path if entry for wheel in WHEELS]
    return [str(file) for folder in folders for file in sorted(folder.glob("libcudart.so*"))]
