"""A system as a YAML file: read with care, because anybody may have written it, and written back.

A system file names no other file, and nothing in it makes any other file be opened.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
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
WIDTH = 98  # characters in a line that is written
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
    of file. Without any known, `-` is the standard input. Raises `error` with a sentence where it
    cannot be read; no more than `most_bytes` are.
    """
    name = str(name_or_path)
    place = name if name.isprintable() and 0 < len(name) < 200 else show(name)
    expected = f"expected a {kind} file in UTF-8"
    try:
        piped = name == "-" and not known
        with (
            nullcontext(sys.stdin.buffer)
            if piped
            else known.get(name, Path(name)).open("rb") as file
        ):
            raw = file.read(most_bytes + 1)
        if len(raw) > most_bytes:
            raise error(f"{place}: more than {most_bytes:,} bytes; expected a smaller file")
        return place, raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise error(
            f"{place}: no such file; expected a {kind} file"
            + (f", or the name of a bundled {what}; {did_you_mean(name, known)}" if known else "")
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
    return _parsed(text, place, _Loader, MAX_MAPPINGS, MAX_TEXT, yaml.load)


def parse_all(text: str, place: str) -> list[Any]:
    """The documents in a YAML or JSON text of another tool, where `<<` merges mappings."""
    if text.lstrip()[:1] == "{":
        try:
            found = [json.loads(text, object_pairs_hook=_once)]
            check_size(found)
            return found
        except InvalidSystem as error:
            raise InvalidSystem(f"{place}: {error}") from None
        except (ValueError, RecursionError):
            pass  # what is wrong with it is said with line and column below; or it is YAML after all
    found = _parsed(
        text, place, _Merging, MAX_VALUES, MAX_BYTES, lambda *given: list(yaml.load_all(*given))
    )
    try:
        check_size(found)
    except InvalidSystem as error:
        raise InvalidSystem(f"{place}: {error}") from None
    return [document for document in found if document is not None]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidSystem(f"the key {show(twice)} is there twice; expected JSON; remove one")
    return found


def _parsed(text: str, place: str, kind: type, most_mappings: int, most_text: int, load) -> Any:

    def refuse(mark, problem, expected="YAML"):
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        suggestion = next((hint for words, hint in HINTS.items() if words in problem), "")
        more = f"; {suggestion}" if suggestion else ""
        raise InvalidSystem(f"{place}{where}: {problem}; expected {expected}{more}") from None

    try:
        depth = mappings = values = 0
        for event in yaml.parse(text, Loader=kind):
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
            if mappings > most_mappings:
                steps = f"at most {MAX_STEPS:,} steps in a system"
                refuse(event.start_mark, f"more than {most_mappings:,} mappings were found", steps)
            if values > MAX_VALUES:
                refuse(event.start_mark, f"more than {MAX_VALUES:,} values were found", "fewer")
            if len(getattr(event, "value", "")) > most_text:
                refuse(
                    event.start_mark,
                    f"a value of more than {most_text:,} characters was found",
                    "a shorter one",
                )
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                refuse(event.start_mark, f"the tag {show(tag)} is not known here")
        return load(text, kind)
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
    """The data as a text that `parse` takes back; `comments` go above what is at their paths.

    The path () is the head of the file; a line break begins a new line of the comment.
    """
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    if not comments:
        return text
    lines = text.splitlines()
    starts = dict(_starts(yaml.compose(text, Loader=_Loader), ()))
    above: dict[int, list[str]] = {}
    for path, comment in comments.items():
        line = starts[path]
        indent = " " * (len(lines[line]) - len(lines[line].lstrip()))
        for part in comment.split("\n"):
            plain = "".join(c if c.isprintable() else " " for c in part)
            above.setdefault(line, []).extend(
                f"{indent}# {words}" for words in textwrap.wrap(plain, WIDTH - 2 - len(indent))
            )
    return (
        "\n".join(row for n, line in enumerate(lines) for row in (*above.get(n, ()), line)) + "\n"
    )


def _starts(node: yaml.Node | None, path: tuple) -> Iterator[tuple[tuple, int]]:
    """The line on which each value of a written file begins, its key included."""
    if not path:
        yield (), 0
    items: Any = ()
    if isinstance(node, yaml.MappingNode):
        items = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        items = [(number, value, value) for number, value in enumerate(node.value)]
    for name, first, value in items:
        yield (*path, name), first.start_mark.line
        yield from _starts(value, (*path, name))


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


class _Merging(_Loader):
    """The same with merge keys, each source at most once in a mapping and bounded in all."""

    merged = 0

    def construct_mapping(self, node, deep=False):
        own, found = [], {}
        for key, value in node.value:
            if not (isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style):
                own.append((key, value))
                continue
            listed = isinstance(value, yaml.SequenceNode)
            sources = {id(one): one for one in (value.value if listed else [value])}
            for source in sources.values():
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "<< merges what is no mapping", source.start_mark
                    )
                values = self.construct_object(source, deep=True)
                self.merged += len(values)
                if self.merged > MAX_VALUES:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"more than {MAX_VALUES:,} values were merged", key.start_mark
                    )
                found = {**values, **found}
        plain = yaml.MappingNode(node.tag, own, node.start_mark, node.end_mark)
        return {**found, **super().construct_mapping(plain, deep)}


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads, small mappings on one line."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data):
        return True

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def serialize(self, node):
        if not self.default_flow_style:
            _compact(node, 0)
        super().serialize(node)


def _compact(node: Any, level: int) -> tuple[int, int]:
    """Put what is small on one line, but the file and its sections; (length, levels inside).

    Lists of numbers are filled lines, however long.
    """
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 4, 0
    mapping = isinstance(node, yaml.MappingNode)
    parts = [part for pair in node.value for part in pair] if mapping else node.value
    sizes = [_compact(part, level + 1) for part in parts]
    length = sum(size for size, _ in sizes)
    levels = 1 + max((inside for _, inside in sizes), default=0)
    small = levels <= (2 if mapping else 1) and length < WIDTH
    numbers = not mapping and {part.tag.rpartition(":")[2] for part in parts} <= {"int", "float"}
    node.flow_style = not parts or (level > 1 and (small or numbers))
    return length, levels


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
    steps = values = characters = 0
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
        characters += len(value) if isinstance(value, str) else 0
        if isinstance(key, int) and path and path[-1] == "then":
            steps += 1
        if steps > MAX_STEPS:
            raise InvalidSystem(f"{place_of(path[:2])}: {too_many_steps()}")
        if values > MAX_VALUES:
            raise InvalidSystem(
                f"{place_of(path[:1])}: more than {MAX_VALUES:,} values were found, aliases followed; "
                "expected fewer"
            )
        if characters > MAX_BYTES:
            raise InvalidSystem(
                f"{place_of(path[:1])}: more than {MAX_BYTES:,} characters were found, aliases "
                "followed; expected fewer"
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
