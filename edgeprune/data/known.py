"""Names of the built-in data sets, and the check of a name; torch is not imported."""

from pathlib import Path

from edgeprune.errors import DataError, known

NAMES = ("cifar10", "cifar100", "digits", "digits-detect", "digits-segment")
HUB = "hf:"  # before the name of a data set of Hugging Face's


def data_names() -> list[str]:
    """Return the names of the built-in data sets; any other name is the path of a folder."""
    return list(NAMES)


def check_data(name_or_path: str) -> None:
    """Check that a data set of that name, or a folder at that path, may be there, before it is read.

    Raises:
        DataError: there is none.
    """
    if name_or_path in NAMES or name_or_path.startswith(HUB) or name_or_path.endswith(".tar"):
        return
    folder = Path(name_or_path).expanduser().absolute()
    if folder.exists():
        return
    if "/" not in name_or_path.replace("\\", "/"):
        raise DataError(
            f"{known('data set', name_or_path, data_names())}; or give the path of a folder of images"
        )
    raise DataError(f"no such data folder: {folder}")
