"""Traces of requests: written from a simulation, and read to make a system of them.

`recording` writes the spans of a simulated run, `reading` reads a file of spans, `trees` puts them
together to requests, `importing` makes the system of these.
"""

from models.traces.importing import Import, read
from models.traces.reading import InvalidTraces
from models.traces.recording import record

__all__ = ["Import", "InvalidTraces", "read", "record"]
