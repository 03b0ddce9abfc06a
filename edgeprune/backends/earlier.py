"""Decide which files of an earlier export remain valid when a run is exported again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeprune.backends.base import ALONE, MODELS, Artifact, Backend
from edgeprune.files.reading import sha256


@dataclass(frozen=True)
class Earlier:
    """An earlier export beside a new one.

    Attributes:
        old: artifacts of the earlier record; none where there was none, or a damaged one.
        new: artifacts of the new record.
        folder: with the earlier files.
        kinds: every backend in each of its precisions.
    """

    old: tuple[Artifact, ...]
    new: tuple[Artifact, ...]
    folder: Path
    kinds: tuple[Backend, ...]

    def kept(self) -> list[Artifact]:
        """Return the earlier artifacts that are valid for the models of the new export too."""
        made = {(artifact.backend, artifact.precision, artifact.model) for artifact in self.new}
        return [
            artifact
            for artifact in self.old
            if (artifact.backend, artifact.precision, artifact.model) not in made and self._holds(artifact)
        ]

    def outdated(self) -> Iterator[Path]:
        """Yield the files that are valid for no model of the new export."""
        files = {artifact.file for artifact in [*self.new, *self.kept()]}
        listed = {artifact.file for artifact in self.old}
        for model in (*MODELS, *ALONE):
            same = self._same_model(model)
            for backend in self.kinds:
                name = backend.file_name(model)
                if name not in files and (name in listed or not same):
                    yield from (self.folder / f"{name}{end}" for end in ("", *backend.sidecars))

    def _same_model(self, model: str) -> bool:
        """Return whether both exports have the same weights; without digests, the same ONNX file."""
        old = {artifact.backend: artifact for artifact in self.old if artifact.model == model}
        new = {artifact.backend: artifact for artifact in self.new if artifact.model == model}
        digests = {artifact.weights_sha256 for artifact in old.values()} - {None}
        if digests:
            return digests == {artifact.weights_sha256 for artifact in new.values()}
        both = old.get("onnx"), new.get("onnx")
        known = all(artifact is not None and artifact.sha256 for artifact in both)
        return known and _digest(both[0]) == _digest(both[1])

    def _holds(self, artifact: Artifact) -> bool:
        if artifact.file is None or not self._same_model(artifact.model):
            return False
        kind = next((backend for backend in self.kinds if backend.name == artifact.backend), None)
        sources = kind.needs.get(artifact.precision, ()) if kind else ()
        if any(self._changed(source, artifact.model) for source in sources):
            return False
        path = self.folder / artifact.file
        return path.is_file() and artifact.sha256 in (None, sha256(path))

    def _changed(self, backend: str, model: str) -> bool:
        """Return whether the file of a backend was made again, and came out different."""
        old = _first(self.old, backend, model)
        new = _first(self.new, backend, model)
        return new is not None and (old is None or _digest(old) not in (None, _digest(new)))


def _first(artifacts: Iterable[Artifact], backend: str, model: str) -> Artifact | None:
    return next(
        (artifact for artifact in artifacts if (artifact.backend, artifact.model) == (backend, model)), None
    )


def _digest(artifact: Artifact | None) -> str | None:
    return artifact.sha256 if artifact else None
