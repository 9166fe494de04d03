"""A system as a YAML file: read with care, because anybody may have written it, and written back.

A system file names no other file, and nothing in it makes any other file be opened.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from models.checks import InvalidSystem, did_you_mean, place_of, show

BUNDLED = Path(__file__).parent / "systems"
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
MAX_STEPS = 10_000
MAX_NESTING = 100
MAX_VALUES = 2_000_000  # in one file, aliases followed
MAX_LEVELS = 2 * MAX_NESTING + 20  # of lists and mappings inside each other
MAX_MAPPINGS = 20 * MAX_STEPS  # in one file, aliases not followed
MAX_BYTES = 50_000_000
MAX_TEXT = 100_000  # characters of one value
HINTS = {  # what to do where the text is no YAML, by a part of what the parser says
    "tab character": "indent with spaces",
    "cannot start any token": "put the value in quotes, and indent with spaces",
    "undefined alias": "put a value that begins with * in quotes",
    "mapping values are not allowed": "check the indentation, or put the value in quotes",
    "expected ',' or": "close the bracket",
    "another document": "leave out the line ---",
    "there twice": "remove one",
    "end of stream": "close the quotes or the bracket",
    "escape character": "use single quotes",
    "unhashable key": "use text as key",
    "expected key": "check the indentation",
    "the tag": "remove it",
}


def bundled() -> tuple[str, ...]:
    """The names of the systems that come with the package."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yml")))


def notebooks() -> dict[str, Path]:
    """The book's notebooks by all that they are called: `3-broker`, `3`, `broker`."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    short = {part: path for path in paths for part in path.stem.split("-", 1)}
    return {path.stem: path for path in paths} | short


def read(name_or_path: str | Path) -> Any:
    """The data of a bundled system or of a file."""
    known = {name: BUNDLED / f"{name}.yml" for name in bundled()}
    place, text = text_of(name_or_path, known, "system", "YAML", InvalidSystem)
    data = parse(text, place)
    if data is None:
        raise InvalidSystem(f"{place}: the file is empty; expected a system")
    return data


def text_of(
    name_or_path: str | Path,
    known: Mapping[str, Path],
    what: str,
    kind: str,
    error: type[Exception],
    most_bytes: int = MAX_BYTES,
) -> tuple[str, str]:
    """How to call a file in a message, and the text in it.

    `known` has the paths of those that come along, by name; `what` is in it, and it is of a `kind`
    of file. Raises `error` with a sentence where it cannot be read; no more than `most_bytes` are.
    """
    name = str(name_or_path)
    place = name if name.isprintable() and 0 < len(name) < 200 else show(name)
    expected = f"expected a {kind} file in UTF-8"
    try:
        with known.get(name, Path(name)).open("rb") as file:
            raw = file.read(most_bytes + 1)
        if len(raw) > most_bytes:
            raise error(f"{place}: more than {most_bytes:,} bytes; expected a smaller file")
        return place, raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise error(
            f"{place}: no such file; expected a {kind} file, or the name of a bundled {what}; "
            f"{did_you_mean(name, known)}"
        ) from None
    except IsADirectoryError:
        raise error(f"{place}: this is a directory; {expected}") from None
    except UnicodeDecodeError as fault:
        raise error(
            f"{place}: byte {fault.start} is not UTF-8; {expected}; save it as such"
        ) from None
    except (OSError, ValueError) as fault:
        if isinstance(fault, error):
            raise
        reason = getattr(fault, "strerror", None) or str(fault)
        raise error(f"{place}: cannot be read: {reason}; {expected}") from None


def parse(text: str, place: str = "system") -> Any:
    """The data in a YAML text. Raises InvalidSystem with line and column."""

    def refuse(mark, problem, expected="YAML"):
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        suggestion = next((hint for words, hint in HINTS.items() if words in problem), "")
        more = f"; {suggestion}" if suggestion else ""
        raise InvalidSystem(f"{place}{where}: {problem}; expected {expected}{more}") from None

    try:
        depth = mappings = values = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                mappings += isinstance(event, yaml.MappingStartEvent)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            values += 1
            if depth > MAX_LEVELS:
                refuse(
                    event.start_mark, f"more than {MAX_LEVELS} levels inside each other", "fewer"
                )
            if mappings > MAX_MAPPINGS:
                steps = f"at most {MAX_STEPS:,} steps in a system"
                refuse(event.start_mark, f"more than {MAX_MAPPINGS:,} mappings were found", steps)
            if values > MAX_VALUES:
                refuse(event.start_mark, f"more than {MAX_VALUES:,} values were found", "fewer")
            if len(getattr(event, "value", "")) > MAX_TEXT:
                refuse(
                    event.start_mark,
                    f"a value of more than {MAX_TEXT:,} characters was found",
                    "a shorter one",
                )
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                refuse(event.start_mark, f"the tag {show(tag)} is not known here")
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        refuse(error.problem_mark, " ".join(str(error.problem or error.context).split()))
    except yaml.reader.ReaderError as error:
        refuse(
            None, f"the character #x{error.character:04x} at position {error.position} was found"
        )
    except yaml.YAMLError as error:
        refuse(None, " ".join(str(error).split())[:200])
    except (RecursionError, ValueError) as error:
        if isinstance(error, InvalidSystem):
            raise
        refuse(None, "this cannot be read")


def dump(data: dict, comments: Mapping[tuple, str] | None = None) -> str:
    """The data as a text that `parse` takes back; comments by the path of what they are about."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if not comments:
        return text
    lines = text.splitlines()
    waiting: list[tuple[tuple, Any]] = [((), yaml.compose(text, Loader=_Loader))]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*path, key.value)
                if below in comments:
                    lines[key.start_mark.line] += f"  # {' '.join(comments[below].split())}"
                waiting.append((below, value))
        elif isinstance(node, yaml.SequenceNode):
            waiting += [((*path, number), value) for number, value in enumerate(node.value)]
    return "\n".join(lines) + "\n"


def inline(data: Any) -> str:
    """The same on one line, to be put into such a text."""
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True,
        width=10**9,
    ).strip()  # fmt: skip


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2 scalars (no `yes`, `1:30` or `010` with another meaning), every key once."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def flatten_mapping(self, node):
        """No merge keys: `<<` is a key like any other."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value[:60]}' is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data):
        return True


_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
for _kind in (_Loader, _Dumper):
    for _tag, _pattern, _first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]{1,300}", list("-+0123456789")),
        ("float", rf"{_FLOAT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.0123456789")),
    ):
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
        )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda loader, node: float(re.sub(r"\.(?=[inIN])", "", node.value)),
)


def too_many_steps() -> str:
    return f"more than {MAX_STEPS:,} steps were found; expected at most {MAX_STEPS:,} in a system"


def too_deep() -> str:
    return f"steps nest too deeply; expected at most {MAX_NESTING} inside each other"


def check_size(data: Any) -> None:
    """Refuse what contains itself, nests absurdly or is far too large, before looking closer."""
    path: list[Any] = []
    steps = values = 0
    active = {id(data)}
    stack = [_items(data)]
    owners = [data]
    while stack:
        try:
            key, value = next(stack[-1])
        except StopIteration:
            stack.pop()
            active.discard(id(owners.pop()))
            if path:
                path.pop()
            continue
        values += 1
        if isinstance(key, int) and path and path[-1] == "then":
            steps += 1
        if steps > MAX_STEPS:
            raise InvalidSystem(f"{place_of(path[:2])}: {too_many_steps()}")
        if values > MAX_VALUES:
            raise InvalidSystem(
                f"{place_of(path[:1])}: more than {MAX_VALUES:,} values were found, aliases followed; "
                "expected fewer"
            )
        if isinstance(value, dict | list | tuple) and value:
            where = [*path, key]
            if id(value) in active:
                raise InvalidSystem(
                    f"{place_of(where[:12])}: this contains itself; expected steps that end; "
                    "remove the loop"
                )
            if len(where) > MAX_LEVELS:
                raise InvalidSystem(f"{place_of(where[:4])}: {too_deep()}")
            active.add(id(value))
            owners.append(value)
            stack.append(_items(value))
            path.append(key)


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, dict):
        return iter(data.items())
    return iter(enumerate(data)) if isinstance(data, list | tuple) else iter(())
