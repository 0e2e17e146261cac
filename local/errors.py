"""What the local run can be refused for: each is one sentence with the way out, shown without a traceback."""


class LocalError(Exception):
    """The run cannot start or go on; its text is complete and safe to show (never a password)."""
