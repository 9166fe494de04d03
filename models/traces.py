"""A system from traces of its requests."""

from pathlib import Path


class InvalidTraces(ValueError):
    """Traces of which no system can be made; the message says what was found and expected."""


def read(path):
    """The system that a file of traces shows. Raises InvalidTraces."""
    try:
        with Path(path).open("rb") as file:
            first = file.read(1)
    except IsADirectoryError:
        raise InvalidTraces(
            f"{path}: this is a directory; expected a file of traces in JSON"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidTraces(
            f"{path}: cannot be read: {reason}; expected a file of traces in JSON"
        ) from None
    if not first:
        raise InvalidTraces(f"{path}: the file is empty; expected traces in JSON")
    raise InvalidTraces(f"{path}: no span was found; expected traces in OTLP JSON or Jaeger's JSON")
