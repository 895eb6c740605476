"""The error a user can do something about."""


class CorpusError(Exception):
    """Says what failed, where, and what to do."""
