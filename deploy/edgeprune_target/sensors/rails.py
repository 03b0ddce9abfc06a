"""Base class of sensors whose rails are small files: INA3221 (old and new driver) and INA238."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from edgeprune_target.sensors.base import Sensor
from edgeprune_target.sensors.numberfile import NumberFile


class Rail:
    """One rail: watts, from a power file or from voltage times current."""

    def __init__(self, files: list, scale: float) -> None:
        """Define the rail: the product of the numbers in ``files`` times ``scale`` is watts."""
        self.files = [NumberFile(path) for path in files]
        self.scale = scale

    def watts(self) -> float:
        """Return the current power; slightly negative values are possible without load.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file has no number.
        """
        product = self.scale
        for file in self.files:
            product *= file()
        return product

    def close(self) -> None:
        """Close its files."""
        for file in self.files:
            file.close()


class RailFiles(Sensor):
    """A sensor whose subclass finds its rails in ``find_rails``."""

    what = ""

    def find_rails(self, root: Path) -> list:
        """Return ``[(label, chip, Rail)]`` of this machine."""
        raise NotImplementedError

    def why_not(self) -> str | None:
        """Return None, or why the chip is missing or cannot be read."""
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
        """Return {rail: watts}, without the rails that failed this time."""
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
        """Return {name: Rail}, searched once; if two chips have a rail of one name, the second gets its chip's name."""
        if not hasattr(self, "_rail_by_name"):
            self._rail_by_name: dict = {}
            for label, chip, rail in self.find_rails(Path(self.root)):
                self._rail_by_name[label if label not in self._rail_by_name else f"{label}@{chip}"] = rail
        return self._rail_by_name


def is_rail(label: str) -> bool:
    """Return whether a channel is a rail: not unnamed, not unconnected, not the sum of the shunt voltages."""
    return bool(label) and label != "NC" and not label.startswith("sum of")
