"""What can go wrong, by what can be done about it.

    PipelineError
      TransientError   may pass: Step Functions runs the state again
      InputError       the event or the function's environment is wrong: mend the caller
      SourceError      the source answers what no retry cures: unknown dataset, refused request, no rows
      DriftError       the source's columns no longer fit the dataset's contract
      RawDataError     what lies in S3 is not what the manifest says: extract again
      RefusedError     the data arrived whole but a guard keeps it out of the table
      DatabaseError    PostgreSQL refused a statement

The class name is what the state machine sees (`errorType`), the message what a person reads at night: what was got, the
rule, the way out. Neither ever holds a secret, nor a character that a terminal would obey.
"""

from evdata.visible import visible_lines


class PipelineError(Exception):
    """Any of the below. The message may quote the source: what is not printable in it is shown as an escape."""

    def __init__(self, message: str) -> None:
        super().__init__(visible_lines(message))


class TransientError(PipelineError):
    """May pass by itself; safe to run again."""


class InputError(PipelineError):
    """The event or the environment is not as agreed."""


class SourceError(PipelineError):
    """The source cannot be read, and asking again would not help."""


class DriftError(PipelineError):
    """The source's columns do not fit the contract; nothing was staged."""


class RawDataError(PipelineError):
    """A part or manifest in S3 is missing, changed or incomplete."""


class RefusedError(PipelineError):
    """A guard refused to publish; the table stands as it was."""


class DatabaseError(PipelineError):
    """PostgreSQL refused a statement, and would again."""
