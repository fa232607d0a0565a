"""What can be wrong with a seed file as a whole. A single bad row is a `BadRow`, never an error."""

from __future__ import annotations

from common.errors import StillhouseError


class SeedError(StillhouseError):
    """A source of seeds cannot be read at all."""

    code = "seed_error"


class SeedFileNotFound(SeedError):
    """There is no such file, folder or dataset."""

    code = "seed_file_not_found"


class SeedFileUnreadable(SeedError):
    """The file is there, but its bytes cannot be read as what it claims to be."""

    code = "seed_file_unreadable"


class SeedFileEmpty(SeedError):
    """The file holds no rows."""

    code = "seed_file_empty"


class SeedFormatUnknown(SeedError):
    """Neither the name nor the content says which format the file has."""

    code = "seed_format_unknown"


class SeedShapeUnknown(SeedError):
    """The rows can be read, but no known column holds the instruction."""

    code = "seed_shape_unknown"


class SeedSplitUnknown(SeedError):
    """The file or dataset has no split (or configuration) of that name."""

    code = "seed_split_unknown"


class MissingExtra(SeedError):
    """The format needs a package that belongs to an optional extra."""

    code = "missing_extra"


def missing_extra(source: str, package: str) -> MissingExtra:
    """The error for a source that needs `package`, which the `eval` extra brings."""
    return MissingExtra(
        f"{source} cannot be read: the package {package} is not installed.",
        cause=f"{package} is optional; the factory's own install does not bring it.",
        solution="Install the extra named eval, or convert the file to JSONL.",
        command='.venv/bin/pip install -e ".[eval]"',
    )
