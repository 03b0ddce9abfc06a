"""A search from its options to its result: one for the target, or several within a largest drop."""

from dataclasses import asdict
from pathlib import Path

from edgeprune.errors import RunError, SearchError
from edgeprune.files.locks import shared
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.search import SearchResult
from edgeprune.search.checking import check_before_torch
from edgeprune.search.folder import SearchFolder
from edgeprune.search.max_drop import MaxDropSearch
from edgeprune.search.options import SearchOptions
from edgeprune.search.single import create, finish
from edgeprune.studies import HEARTBEAT_S
from edgeprune.studies.opening import check_storage
from edgeprune.studies.urls import redacted


def search(
    out: str | Path,
    options: SearchOptions | None = None,
    *,
    storage: str | None = None,
    resume: bool = False,
    force: bool = False,
    heartbeat_s: float = HEARTBEAT_S,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Search how many channels each group keeps; writes a folder with the best plan.

    Args:
        out: the search's folder. Each participating machine has its own.
        options: of the search. With ``resume``, the folder's options apply.
        storage: URL of the study; workers with the same one share it. None for a file in the folder. Its
            password is not kept: with ``resume`` the URL is given again, and may be corrected while no policy
            is evaluated.
        resume: continue, or join another process that works in the same folder.
        force: replace a search of that name.
        heartbeat_s: interval at which this worker reports that it is alive to a shared database, in seconds.
        progress: called with (done, total, text).

    Returns:
        The result, as in result.json.

    Raises:
        EdgePruneError: a mistake in the options (nothing is written then).
        TargetError: no network keeps to `max_drop`; their searches stay.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; ``resume`` continues.
    """
    if resume and storage is not None:
        check_storage(storage)
    folder = SearchFolder.open(out) if resume else _begin(Path(out), options, storage, force, progress)
    options, stored = folder.read_options()
    url = _storage_of(folder, storage, stored)
    with shared(folder.path):
        if options.max_drop is not None:
            return MaxDropSearch(folder, options, storage, heartbeat_s, progress).execute()
        return finish(folder, options, url, heartbeat_s, progress).result


def _storage_of(folder: SearchFolder, storage: str | None, stored: str) -> str:
    """Return the URL of the study: the typed one, or else the stored one.

    Any storage other than the file in the folder has to be repeated: passwords are not stored, and a folder
    from elsewhere may name a storage whose content is unpickled. Before the first evaluation, a storage may
    be corrected.
    """
    if storage is None:
        if stored != folder.storage:
            raise SearchError(
                f"the storage {stored} is opened only if you repeat it: give `storage` again, in full"
            )
        return stored
    if redacted(storage) != stored:
        if folder.has_policies:
            raise RunError(
                f"{folder.path} was begun with another storage, {stored}, and policies are in it: leave "
                "`storage` out, or begin another search"
            )
        folder.write_options(asdict(folder.read_options()[0]), redacted(storage))
    return storage


def _begin(
    out: Path, options: SearchOptions | None, storage: str | None, force: bool, progress: ProgressCallback
) -> SearchFolder:
    """Check the options, then create the folder."""
    if options is None:
        raise RunError("a new search needs its options")
    options = check_before_torch(out, options, storage=storage, force=force)
    return create(out, options, storage, force=force, progress=progress)
