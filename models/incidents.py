"""An incident log as a CSV file: what came to light during a soak. Read with care, nothing dropped.

The first line names the columns, separated by commas, semicolons or tabs. Two are needed, in any
order; what stands in others is for those who read the log:

* `date`: the day on which a defect first came to light, as YYYY-MM-DD;
* `severity`: minor, major or critical.

One line a defect: what comes again before it is put right is no new defect. A log with the names of
the columns alone says that nothing came to light.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from models.checks import MAX_FAULTS, show
from models.reading import text_of

SEVERITIES = ("minor", "major", "critical")  # from the mildest on
COLUMNS = ("date", "severity")
SEPARATORS = ",;\t"
BUNDLED = {"invented": Path(__file__).parent / "invented-incidents.csv"}
MAX_BYTES = 10_000_000


class InvalidLog(ValueError):
    """A log that cannot be used; `faults` holds one sentence a fault, each with its place."""

    def __init__(self, *faults: str):
        self.faults = faults
        if len(faults) > MAX_FAULTS:
            more = len(faults) - MAX_FAULTS
            faults = (*faults[:MAX_FAULTS], f"log: {more} more faults; put these right first")
        super().__init__("\n".join(faults))

    def _render_traceback_(self):
        """What a notebook shows: the sentences, since no code is at fault."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Incident:
    """One line of a log."""

    line: int
    day: date
    severity: str


@dataclass(frozen=True)
class Log:
    """What came to light from the day `begins` to the day `ends`, both included."""

    begins: date
    ends: date
    incidents: tuple[Incident, ...]

    @property
    def days(self) -> int:
        """How long the soak has lasted."""
        return (self.ends - self.begins).days + 1

    def found_days(self, least: str) -> list[int]:
        """The day of the soak, from 1 on, of every incident that is at least so severe."""
        severe = SEVERITIES[SEVERITIES.index(least) :]
        counted = [incident for incident in self.incidents if incident.severity in severe]
        return sorted((incident.day - self.begins).days + 1 for incident in counted)


def read(
    name_or_path: str | Path, begins: date | str, ends: date | str = "", today: date | None = None
) -> Log:
    """The log in a CSV file, or the bundled one, of a soak from `begins` to `ends`.

    Without `ends` the soak ends today. Raises InvalidLog: every line that cannot be used is named.
    """
    today = today or date.today()
    first, last = day("from", begins), day("to", ends) if ends else today
    if last > today:
        raise InvalidLog(
            f"to: {last} was found, which is in the future; expected at most today, {today}"
        )
    if first > last:
        raise InvalidLog(
            f"from: {first} was found; expected at most the last day of the soak, {last}"
        )
    place, text = text_of(name_or_path, BUNDLED, "log", "CSV", InvalidLog, MAX_BYTES)
    if not text.strip():
        raise InvalidLog(
            f"{place}: the file is empty; expected a first line with the columns date and severity; "
            "if nothing came to light, that line alone"
        )
    faults: list[str] = []
    found: list[Incident] = []
    for line, row, fault in _rows(text, place):
        faulty = [fault] if fault else list(_faults(row, first, last, today))
        faults += [f"{place}, line {line}: {sentence}" for sentence in faulty]
        if not faulty:
            severity = row["severity"].strip().lower()
            found.append(Incident(line, date.fromisoformat(row["date"].strip()), severity))
    if faults:
        raise InvalidLog(*faults)
    return Log(first, last, tuple(found))


def day(place: str, given: date | str) -> date:
    """A day, given as such or as YYYY-MM-DD. Raises InvalidLog."""
    if isinstance(given, date):
        return given
    if fault := _no_day(str(given)):
        raise InvalidLog(f"{place}: {fault}")
    return date.fromisoformat(given.strip())


def _rows(text: str, place: str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Every row: its first line, its values by column, and what is wrong with it as a row."""
    top = len(text) - len(text.lstrip("\r\n"))
    head = text[top:].splitlines()[0]
    separator = max(SEPARATORS, key=lambda mark: len(set(COLUMNS) & set(_names(head.split(mark)))))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    before = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield before + 1, {}, f"{error} was found; expected CSV; close the quotes"
            return
        line, before = before + 1, reader.line_num
        if not row:  # an empty line holds nothing
            continue
        if not names:
            names = _names(row)
            _check_columns(names, f"{place}, line {line}")
        elif len(row) != len(names):
            fault = f"{len(row)} values were found; expected {len(names)}, one for each column"
            yield line, {}, f"{fault}; put a text that holds the separator in quotes"
        else:
            yield line, dict(zip(names, row, strict=True)), ""


def _names(row: list[str]) -> list[str]:
    return [name.strip().strip('"').lower() for name in row]


def _check_columns(names: list[str], place: str) -> None:
    for column in COLUMNS:
        if names.count(column) != 1:
            listed = ", ".join(show(name) for name in names[:20])
            near = get_close_matches(column, set(names) - set(COLUMNS), 1)
            meant = f"; rename {near[0]!r}" if near and column not in names else ""
            raise InvalidLog(
                f"{place}: the columns {listed} were found; expected '{column}' among them, once, "
                f"and commas, semicolons or tabs between them{meant}"
            )


def _faults(row: dict[str, str], first: date, last: date, today: date) -> Iterator[str]:
    """What is wrong with a row."""
    when, severity = row["date"].strip(), row["severity"].strip().lower()
    if fault := _no_day(when):
        yield f"date: {fault}"
    elif not first <= (on := date.fromisoformat(when)) <= last:
        if on > today:
            where = "in the future"
        else:
            where = "before the soak began" if on < first else "after the soak ended"
        yield (
            f"date: {on} was found, which is {where}; expected a day from {first} to {last}; "
            "leave out what does not belong to the soak"
        )
    if severity not in SEVERITIES:
        near = get_close_matches(severity, SEVERITIES, 1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        yield (
            f"severity: {show(row['severity'])} was found; expected one of "
            f"{', '.join(SEVERITIES)}{meant}"
        )


def _no_day(text: str) -> str:
    """What is wrong with a day, or nothing."""
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip(), re.ASCII):
            return f"{show(text)} was found; expected a day as YYYY-MM-DD"
        date.fromisoformat(text.strip())
    except ValueError:
        return f"{show(text)} was found; expected a day that exists, as YYYY-MM-DD"
    return ""
