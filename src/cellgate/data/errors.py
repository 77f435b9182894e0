"""The error for data that cannot be used as it is."""

from cellgate.errors import InputError


class DataError(InputError):
    """A table cannot be read or used; the message names the file, the line and the remedy."""
