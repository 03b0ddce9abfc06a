"""Sensors whose rails are small files: what INA3221 (old and new driver) and INA238 share."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from edgeprune_target.sensors.base import Sensor
from edgeprune_target.sensors.numberfile import NumberFile


class Rail:
    """One rail: watts, from a power file or from voltage times current."""

    def __init__(self, files: list, scale: float) -> None:
        """The product of the numbers in ``files`` times ``scale`` is watts."""
        self.files = [NumberFile(path) for path in files]
        self.scale = scale

    def watts(self) -> float:
        """Now; a little below zero is possible on an unloaded rail. OSError or ValueError if it fails."""
        product = self.scale
        for file in self.files:
            product *= file()
        return product

    def close(self) -> None:
        """Close its files."""
        for file in self.files:
            file.close()


class RailFiles(Sensor):
    """A subclass says where its rails are, in ``find_rails``."""

    what = ""

    def find_rails(self, root: Path) -> list:
        """``[(label, chip, Rail)]`` of this machine."""
        raise NotImplementedError

    def why_not(self) -> str | None:
        """None, or: no such chip here, or it does not let itself be read."""
        rails = self._rails()
        if not rails:
            return f"no {self.what} with named rails here (in a container, mount it: -v /sys:/sys:ro)"
        errors: list = []
        if self._read(errors.append):
            return None
        if any(isinstance(error, PermissionError) for error in errors):
            return f"only root may read {self.what}: run as root, or make its files readable"
        return f"{self.what} does not answer ({errors[0]})"

    def read(self) -> dict:
        """{rail: watts}, without the rails that did not answer this time."""
        return self._read(lambda _error: None)

    def close(self) -> None:
        """Close all files."""
        for rail in self._rails().values():
            rail.close()

    def _read(self, failed: Callable[[Exception], None]) -> dict:
        values = {}
        for name, rail in self._rails().items():
            try:
                values[name] = rail.watts()
            except (OSError, ValueError) as error:
                failed(error)
        return values

    def _rails(self) -> dict:
        """{name: Rail}, found once; where two chips name a rail alike, the second gets its chip's name."""
        if not hasattr(self, "_found"):
            self._found: dict = {}
            for label, chip, rail in self.find_rails(Path(self.root)):
                self._found[label if label not in self._found else f"{label}@{chip}"] = rail
        return self._found


def is_rail(label: str) -> bool:
    """Not a channel that is unnamed, not connected, or the sum of the shunt voltages."""
    return bool(label) and label != "NC" and not label.startswith("sum of")
