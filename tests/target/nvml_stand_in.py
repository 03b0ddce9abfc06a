"""A stand-in for libnvidia-ml: a Python object with its functions, and the same in C."""

import ctypes
from typing import Any

NOT_SUPPORTED = 3


class FakeNvml:
    """Answers with ``answers``; a call that is not among them is not supported."""

    def __init__(self, answers: dict[str, int], cards: int = 1) -> None:
        self.answers = answers
        self.cards = cards

    def nvmlInit_v2(self) -> int:
        return self.answers.get("init", 0)

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = self.cards
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        handle._obj.value = 0x1000 + index.value
        return 0 if index.value < self.cards else 6

    def nvmlDeviceGetName(self, handle: Any, buffer: Any, length: Any) -> int:
        buffer.value = b"NVIDIA Test Card"
        return 0

    def nvmlSystemGetDriverVersion(self, buffer: Any, length: Any) -> int:
        buffer.value = b"580.1"
        return 0

    def nvmlErrorString(self, code: int) -> bytes:
        return {3: b"Not Supported", 6: b"Not Found", 9: b"Driver Not Loaded"}.get(code, b"Unknown Error")

    def _value(self, name: str, place: Any) -> int:
        if name not in self.answers:
            return NOT_SUPPORTED
        place._obj.value = self.answers[name]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, place: Any) -> int:
        return self._value("energy_mj", place)

    def nvmlDeviceGetPowerUsage(self, handle: Any, place: Any) -> int:
        return self._value("power_mw", place)

    def nvmlDeviceGetTemperature(self, handle: Any, kind: ctypes.c_int, place: Any) -> int:
        return self._value("temperature_c", place)

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: ctypes.c_int, place: Any) -> int:
        return self._value("sm_mhz", place) if kind.value == 1 else NOT_SUPPORTED

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, place: Any) -> int:
        return self._value("reasons", place)


# The same library in C, so that the types that ctypes passes are held against real ones.
IN_C = r"""
#include <string.h>
typedef struct card *device;
struct card { unsigned long long energy; };
static struct card only;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) { *d = &only; return i ? 6 : 0; }
int nvmlDeviceGetName(device d, char *s, unsigned n) {
  strncpy(s, "Card in C", n);
  return d == &only ? 0 : 2;
}
int nvmlSystemGetDriverVersion(char *s, unsigned n) { strncpy(s, "1.2", n); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *e) {
  if (d != &only) return 2;
  d->energy += 5000000000ull;
  *e = d->energy;
  return 0;
}
int nvmlDeviceGetPowerUsage(device d, unsigned *p) { *p = 250000; return d == &only ? 0 : 2; }
int nvmlDeviceGetClockInfo(device d, int kind, unsigned *c) { *c = kind == 1 ? 1980 : 0; return 0; }
const char *nvmlErrorString(int code) { return code == 6 ? "Not Found" : "Other"; }
"""
