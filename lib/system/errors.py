"""Errors that a user can mend: one sentence that names the file, what was found, what was expected
and the next command."""


class DataError(ValueError):
    """The images or tables are not what they should be; the message names the file and the
    remedy."""
