"""What can go wrong with the corpus database, each with its cause and its solution."""

from __future__ import annotations

from common.errors import StillhouseError


class StorageError(StillhouseError):
    """The database could not do what was asked; nothing half-done is left in it."""

    code = "storage"


class DatabaseUnreadable(StorageError):
    """The file is no database, or the server cannot be reached."""

    code = "database_unreadable"


class SchemaMismatch(StorageError):
    """The database was made by another version of the schema."""

    code = "schema_mismatch"


class DatabaseBusy(StorageError):
    """Another run holds this database."""

    code = "database_busy"


class StorageFull(StorageError):
    """The disk, or the quota, is full."""

    code = "storage_full"


class NotFound(StorageError):
    """No row answers to that name."""

    code = "not_found"


class DatabaseReplaced(StorageError):
    """Another file stands where the open one was."""

    code = "database_replaced"


class DatabaseReadOnly(StorageError):
    """The corpus can be read here, and not be written to."""

    code = "database_read_only"
