"""NVIDIA's management library, by ctypes: no Python package is needed for it.

On a Jetson it starts and lists one GPU, and then answers "Not Supported" to nearly everything. So each call
is asked for itself, and what does not answer is None.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from edgeprune_target.plausible import possible_c, possible_hz

LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
SM_CLOCK = 1  # nvmlClockType_t NVML_CLOCK_SM
GPU_TEMPERATURE = 0  # nvmlTemperatureSensors_t NVML_TEMPERATURE_GPU
MISSING_CALL = 13  # nvmlReturn_t NVML_ERROR_FUNCTION_NOT_FOUND

# nvmlClocksEventReasons that slow a GPU down for want of power or for heat; not idleness, nor a user's limit.
SLOWED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}


class NvmlError(Exception):
    """NVML is not here, or does not answer this call; the message says which."""


class Nvml:
    """One GPU, by its number in NVML's order (that of the PCI bus, not CUDA's)."""

    def __init__(self, index: int = 0, library: Any = None) -> None:
        """Load and start the library. ``library`` is for tests.

        Raises:
            NvmlError: no library, no driver or no such GPU.
        """
        self.library = library or load_library()
        self._check("nvmlInit_v2")
        self.handle = ctypes.c_void_p()
        self._check("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self.handle))

    def count(self) -> int:
        """GPUs in this machine."""
        found = ctypes.c_uint()
        self._check("nvmlDeviceGetCount_v2", ctypes.byref(found))
        return found.value

    def name(self) -> str:
        """As in "NVIDIA GeForce RTX 4090"."""
        return self._words("nvmlDeviceGetName", self.handle)

    def driver(self) -> str:
        """The driver's version."""
        return self._words("nvmlSystemGetDriverVersion")

    def energy_mj(self) -> int:
        """Millijoules of the whole board since the driver was loaded; Volta and later."""
        return self._value("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)

    def power_mw(self) -> int:
        """Milliwatts of the whole board; a mean over 1 s on most GPUs from Ampere on."""
        return self._value("nvmlDeviceGetPowerUsage", ctypes.c_uint)

    def sm_mhz(self) -> int:
        """The clock of the multiprocessors now."""
        return self._value("nvmlDeviceGetClockInfo", ctypes.c_uint, ctypes.c_int(SM_CLOCK))

    def sm_max_mhz(self) -> int:
        """The highest clock of the multiprocessors."""
        return self._value("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, ctypes.c_int(SM_CLOCK))

    def temperature_c(self) -> int:
        """Of the GPU."""
        return self._value("nvmlDeviceGetTemperature", ctypes.c_uint, ctypes.c_int(GPU_TEMPERATURE))

    def slowed_by(self) -> list:
        """Why the clock is held down just now: values of ``SLOWED``."""
        bits = self._value("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
        return [reason for bit, reason in SLOWED.items() if bits & bit]

    def _words(self, call: str, *before: Any) -> str:
        buffer = ctypes.create_string_buffer(96)
        self._check(call, *before, buffer, ctypes.c_uint(96))
        return buffer.value.decode(errors="replace")

    def _value(self, call: str, kind: Any, *between: Any) -> int:
        found = kind()
        self._check(call, self.handle, *between, ctypes.byref(found))
        return int(found.value)

    def _check(self, call: str, *arguments: Any) -> None:
        function = getattr(self.library, call, None)
        code = function(*arguments) if function else MISSING_CALL
        if code != 0:
            raise NvmlError(f"{call}: {self._meaning(code)}")

    def _meaning(self, code: int) -> str:
        function = getattr(self.library, "nvmlErrorString", None)
        said = function(code) if function else None
        return said.decode(errors="replace") if said else f"error {code}"


def load_library() -> Any:
    """The library itself.

    Raises:
        NvmlError: it is not on this machine.
    """
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "nvmlErrorString"):
            library.nvmlErrorString.restype = ctypes.c_char_p
        return library
    raise NvmlError(f"there is no {LIBRARIES[0]} (no NVIDIA driver, or a container without --gpus all)")


def gpu_list(library: Any = None) -> list:
    """``[{"name", "driver"}]`` of the GPUs that NVML lists; empty where there is no NVML."""
    try:
        count = Nvml(0, library).count()
        gpus = [Nvml(index, library) for index in range(count)]
        return [{"name": asked(gpu.name), "driver": asked(gpu.driver)} for gpu in gpus]
    except NvmlError:
        return []


def gpu_states(library: Any = None) -> list:
    """``[{"name", "sm_mhz", "sm_max_mhz", "temperature_c", "slowed_by"}]``; None for what does not answer."""
    try:
        gpus = [Nvml(index, library) for index in range(Nvml(0, library).count())]
    except NvmlError:
        return []
    return [
        {
            "name": asked(gpu.name),
            "sm_mhz": _if(possible_mhz, asked(gpu.sm_mhz)),
            "sm_max_mhz": _if(possible_mhz, asked(gpu.sm_max_mhz)),
            "temperature_c": _if(possible_c, asked(gpu.temperature_c)),
            "slowed_by": asked(gpu.slowed_by),
        }
        for gpu in gpus
    ]


def possible_mhz(mhz: int) -> bool:
    """Return whether a clock can be; a call that fails silently leaves all bits set."""
    return possible_hz(mhz * 1e6)


def _if(possible: Callable[[int], bool], value: int | None) -> int | None:
    return value if value is not None and possible(value) else None


def asked(call: Any) -> Any:
    """What ``call()`` gives, or None when NVML does not answer it."""
    try:
        return call()
    except NvmlError:
        return None
