"""config.json of a run: every option as it was resolved when the run was created."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import RunError
from edgeprune.records import read_record
from edgeprune.records.runs import Config, check_image_fields
from edgeprune.records.trust import check_factory, named_folders
from edgeprune.tasks import Classification

if TYPE_CHECKING:
    from torch import nn

SCHEMA = 1


class RunSettings:
    """Reads config.json of a run folder, anew at each request."""

    def __init__(self, path: Path) -> None:
        self._folder, self._path = path, path / "config.json"

    @property
    def config(self) -> dict[str, Any]:
        """All of it; raises RunError if it is damaged."""
        config = read_record(
            self._path, Config, schema=SCHEMA, hint="was it edited, or made by another version of edgeprune?"
        )
        if {"input_shape", "mean", "std"} <= config.keys():
            check_image_fields(config, str(self._path))
        return config

    def required(self, name: str) -> Any:
        """Return a setting that every run has; raises RunError if it is missing."""
        config = self.config
        if name not in config:
            raise RunError(f"{self._path} has no {name!r}: it was edited, or another program wrote it")
        return config[name]

    @property
    def task(self) -> str:
        """The name of the task that the run was made for; runs of earlier versions classify."""
        options = self.config.get("options") or {}
        name = options.get("task", Classification.name)
        check_factory(name, {}, self._folder, named_folders(options), what="task")
        return str(name)

    @property
    def opaque(self) -> tuple[str, ...]:
        """Names of the modules that are neither traced nor pruned."""
        options = self.config.get("options")
        names = options.get("opaque") if isinstance(options, dict) else None
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RunError(f"{self._path} options.opaque is not a list of names: was it edited?")
        return tuple(names)

    def build(self) -> "nn.Module":
        """Build the unpruned architecture with random weights.

        Raises:
            ModelError: the code that builds it is not trusted; see `edgeprune.records.trust`.
        """
        from edgeprune.models import build

        self.check_trusted()
        model = self.required("model")
        return build(model["factory"], **model["args"])

    def check_trusted(self) -> None:
        """Check that the user trusts the code that builds the model; raises ModelError."""
        model = self.required("model")
        folders = named_folders(self.config.get("options") or {})
        check_factory(model["factory"], model["args"], self._folder, folders)
