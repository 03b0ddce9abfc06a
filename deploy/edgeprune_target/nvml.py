"""Call NVIDIA's management library by ctypes, without a Python package.

On a Jetson it starts and lists one GPU, but answers "Not Supported" to nearly every call. Therefore each call
is tried separately, and an unsupported value is None.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from edgeprune_target.plausible import possible_c, possible_hz

LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
SM_CLOCK = 1  # nvmlClockType_t NVML_CLOCK_SM
GPU_TEMPERATURE = 0  # nvmlTemperatureSensors_t NVML_TEMPERATURE_GPU
MISSING_CALL = 13  # nvmlReturn_t NVML_ERROR_FUNCTION_NOT_FOUND

# nvmlClocksEventReasons of power or temperature that slow a GPU down; not idleness or a user's limit.
SLOWED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}


class NvmlError(Exception):
    """NVML is missing, or does not support a call; the message names it."""


class Nvml:
    """One GPU, by its number in NVML's order (that of the PCI bus, not CUDA's)."""

    def __init__(self, index: int = 0, library: Any = None) -> None:
        """Load and start the library. ``library`` is for tests.

        Raises:
            NvmlError: no library, no driver or no such GPU.
        """
        self.library = library or load_nvml()
        self._check("nvmlInit_v2")
        self.handle = ctypes.c_void_p()
        self._check("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self.handle))

    def count(self) -> int:
        """Return the number of GPUs in this machine."""
        gpus = ctypes.c_uint()
        self._check("nvmlDeviceGetCount_v2", ctypes.byref(gpus))
        return gpus.value

    def name(self) -> str:
        """Return the GPU's name, as in "NVIDIA GeForce RTX 4090"."""
        return self._words("nvmlDeviceGetName", self.handle)

    def driver(self) -> str:
        """Return the driver's version."""
        return self._words("nvmlSystemGetDriverVersion")

    def energy_mj(self) -> int:
        """Return the board's energy in millijoules since the driver was loaded; Volta and later."""
        return self._value("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)

    def power_mw(self) -> int:
        """Return the board's power in milliwatts; a mean over 1 s on most GPUs from Ampere on."""
        return self._value("nvmlDeviceGetPowerUsage", ctypes.c_uint)

    def sm_mhz(self) -> int:
        """Return the current clock of the multiprocessors."""
        return self._value("nvmlDeviceGetClockInfo", ctypes.c_uint, ctypes.c_int(SM_CLOCK))

    def sm_max_mhz(self) -> int:
        """Return the highest clock of the multiprocessors."""
        return self._value("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, ctypes.c_int(SM_CLOCK))

    def temperature_c(self) -> int:
        """Return the GPU's temperature."""
        return self._value("nvmlDeviceGetTemperature", ctypes.c_uint, ctypes.c_int(GPU_TEMPERATURE))

    def slowed_by(self) -> list:
        """Return why the clock is currently throttled: values of ``SLOWED``."""
        bits = self._value("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
        return [reason for bit, reason in SLOWED.items() if bits & bit]

    def _words(self, call: str, *before: Any) -> str:
        buffer = ctypes.create_string_buffer(96)
        self._check(call, *before, buffer, ctypes.c_uint(96))
        return buffer.value.decode(errors="replace")

    def _value(self, call: str, kind: Any, *between: Any) -> int:
        value = kind()
        self._check(call, self.handle, *between, ctypes.byref(value))
        return int(value.value)

    def _check(self, call: str, *arguments: Any) -> None:
        function = getattr(self.library, call, None)
        code = function(*arguments) if function else MISSING_CALL
        if code != 0:
            raise NvmlError(f"{call}: {self._meaning(code)}")

    def _meaning(self, code: int) -> str:
        function = getattr(self.library, "nvmlErrorString", None)
        message = function(code) if function else None
        return message.decode(errors="replace") if message else f"error {code}"


def load_nvml() -> Any:
    """Load the library.

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
    """Return ``[{"name", "driver"}]`` of the GPUs that NVML lists; empty without NVML."""
    try:
        count = Nvml(0, library).count()
        gpus = [Nvml(index, library) for index in range(count)]
        return [{"name": value_or_none(gpu.name), "driver": value_or_none(gpu.driver)} for gpu in gpus]
    except NvmlError:
        return []


def gpu_states(library: Any = None) -> list:
    """Return ``[{"name", "sm_mhz", "sm_max_mhz", "temperature_c", "slowed_by"}]``; unsupported values are None."""
    try:
        gpus = [Nvml(index, library) for index in range(Nvml(0, library).count())]
    except NvmlError:
        return []
    return [
        {
            "name": value_or_none(gpu.name),
            "sm_mhz": _if(possible_mhz, value_or_none(gpu.sm_mhz)),
            "sm_max_mhz": _if(possible_mhz, value_or_none(gpu.sm_max_mhz)),
            "temperature_c": _if(possible_c, value_or_none(gpu.temperature_c)),
            "slowed_by": value_or_none(gpu.slowed_by),
        }
        for gpu in gpus
    ]


def possible_mhz(mhz: int) -> bool:
    """Return whether a clock is plausible; a call that fails silently leaves all bits set."""
    return possible_hz(mhz * 1e6)


def _if(possible: Callable[[int], bool], value: int | None) -> int | None:
    return value if value is not None and possible(value) else None


def value_or_none(call: Any) -> Any:
    """Return the result of ``call()``, or None if NVML does not support it."""
    try:
        return call()
    except NvmlError:
        return None
