"""What a handler is told: its event and its environment, read once and refused by name when they are not as agreed."""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from evdata.errors import InputError, PipelineError, TransientError

type Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


def told(logger: Logger) -> Callable[[Handler], Handler]:
    """Have a handler's errors logged in one line that can be searched, with the event, before Lambda logs its own."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
            try:
                return handler(event, context)
            except PipelineError as error:
                log = logger.warning if isinstance(error, TransientError) else logger.error
                log(str(error), extra={"error": type(error).__name__, "event": event})
                raise

        return handle

    return decorate


def data_note() -> str:
    """Return what must be said of the data wherever they are shown; the local run sets it for its sample."""
    return os.environ.get("DATA_NOTE", "")


def setting(name: str) -> str:
    """Return an environment variable. Raises `InputError` when the function was deployed without it."""
    value = os.environ.get(name)
    if not value:
        raise InputError(f"the environment variable {name} is not set: the function was not deployed by this program")
    return value


def number_setting[T: (int, float)](name: str, as_number: type[T]) -> T:
    """Return an environment variable as a number."""
    value = setting(name)
    try:
        return as_number(value)
    except ValueError as error:
        raise InputError(f"the environment variable {name} is {value!r}, expected a number") from error


def event_text(event: Mapping[str, Any], name: str) -> str:
    """Return a text of the event. Raises `InputError` naming what the event has instead."""
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"the event's {name} is {value!r}, expected a text; the event has {sorted(event)}")
    return value


def event_flag(event: Mapping[str, Any], name: str) -> bool:
    """Return a flag of the event; absent is false."""
    value = event.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"the event's {name} is {value!r}, expected true or false")
    return value


def event_texts(event: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts of the event; absent is none."""
    value = event.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"the event's {name} is {value!r}, expected a list of texts")
    return tuple(value)


def event_number(event: Mapping[str, Any], name: str) -> int:
    """Return a whole number, not negative, of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(
            f"the event's {name} is {value!r}, expected a whole number from 0; the event has {sorted(event)}"
        )
    return value
