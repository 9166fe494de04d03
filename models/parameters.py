"""The parameters of a notebook, checked before anything is computed.

Papermill passes on whatever it is given: it warns of a name that the notebook does not know, and
checks neither types nor values. A notebook therefore calls `check` first. What it declares stands
in its first cell, one line a parameter: `name: type = value  # what it is, unit`; what papermill
sets stands in a cell of its own, which begins with `# Parameters`.
"""

import ast
import math
import numbers
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from IPython import get_ipython

Range = tuple[float | None, float | None]
LOWEST = {"int": 1, "float": 0}  # unless a range is given: counts, times, rates and shares
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


class ParameterError(ValueError):
    """Parameters that cannot be used, one line each: name, what was found, what is expected."""

    def _render_traceback_(self):
        """What the notebook shows: the sentences, since no code is at fault."""
        return [f"{type(self).__name__}: {self}"]


def check(**ranges: Range) -> None:
    """Check the parameters of the notebook that calls this.

    Whole numbers are at least 1 and other numbers at least 0, unless `ranges` has an entry
    name=(lowest, highest), both allowed, None for no bound. Raises ParameterError.
    """
    names = get_ipython().user_ns
    declared, given = read(names["In"][1:])
    require({name: names[name] for name in (*declared, *given)}, declared, ranges)


def require(
    values: Mapping[str, Any], declared: Mapping[str, str], ranges: Mapping[str, Range]
) -> None:
    """Refuse values that are not declared, or not of their kind and in their range."""
    faults = [
        f"{name}: {value!r} was found, but the notebook has no such parameter; "
        f"{_known(name, declared)}"
        for name, value in values.items()
        if name not in declared
    ]
    for name, kind in declared.items():
        if name in values:
            found = fault(values[name], kind, ranges.get(name, (LOWEST.get(kind), None)))
            faults += [f"{name}: {found}"] if found else []
    if faults:
        raise ParameterError("\n".join(faults))


def given() -> dict[str, Any]:
    """What papermill has set in the notebook that calls this, by name."""
    names = get_ipython().user_ns
    return {name: names[name] for name in read(names["In"][1:])[1]}


def adopt(figures: Mapping[str, Any]) -> None:
    """Set parameters of the notebook that calls this, but none that papermill has set."""
    get_ipython().user_ns.update({**figures, **given()})


def read(cells: list[str]) -> tuple[dict[str, str], list[str]]:
    """The types of the declared parameters by name, and the names that papermill set."""
    declared: dict[str, str] = {}
    given: list[str] = []
    for source in cells:
        if source.startswith("# Parameters\n"):
            given += [
                ast.unparse(line.targets[0])
                for line in ast.parse(source).body
                if isinstance(line, ast.Assign)
            ]
        elif not declared:
            declared = {
                ast.unparse(line.target): ast.unparse(line.annotation)
                for line in ast.parse(source).body
                if isinstance(line, ast.AnnAssign)
            }
    return declared, given


def value_of(text: str, kind: str) -> Any:
    """A parameter as it is typed, as a value of its kind; as text where it is none."""
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    for number in {"int": (int, float), "float": (float,)}.get(kind, ()):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def ranges(cells: list[str]) -> dict[str, Range] | None:
    """The ranges with which a notebook calls `check`, before it runs; None if it does not call it.

    Of what stands before the call in its cell, the imports and constants that it names are run. A
    parameter that is set anew there may be anything: the notebook replaces what it is given.
    """
    for source in cells:
        if "parameters.check(" not in source:
            continue
        lines = ast.parse(source).body
        for number, line in enumerate(lines):
            call = line.value if isinstance(line, ast.Expr) else None
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "parameters.check":
                before = lines[:number]
                call.func = ast.copy_location(ast.Name("dict", ast.Load()), call.func)
                needed, slice_ = _names(call, ast.Load), list[ast.stmt]()
                for one in reversed(before):
                    if needed & _set_by(one) and isinstance(one, _PLAIN):
                        slice_.insert(0, one)
                        needed |= _names(one, ast.Load)
                scope: dict[str, Any] = {}
                exec(compile(ast.Module(slice_, []), "check", "exec"), scope)
                found = eval(compile(ast.Expression(call), "check", "eval"), scope)
                anew = set().union(*map(_set_by, before)) & set(read(cells)[0])
                return {**found, **dict.fromkeys(anew, (None, None))}
    return None


_PLAIN = (ast.Import, ast.ImportFrom, ast.Assign)


def _names(node: ast.AST, kind: type) -> set[str]:
    """The names that are read (`ast.Load`) or set (`ast.Store`) in a piece of code."""
    return {
        one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, kind)
    }


def _set_by(line: ast.stmt) -> set[str]:
    if isinstance(line, ast.Import | ast.ImportFrom):
        return {(name.asname or name.name).split(".")[0] for name in line.names}
    return _names(line, ast.Store)


def fault(value: Any, kind: str, bounds: Range = (None, None)) -> str:
    """What is wrong with a value for a parameter of this kind, or nothing."""
    low, high = bounds
    expected = WORDS[kind]
    if kind in ("int", "float"):
        expected += f" of at least {low:g}" if low is not None and high is None else ""
        expected += f" of at most {high:g}" if high is not None and low is None else ""
        expected += f" from {low:g} to {high:g}" if low is not None and high is not None else ""
    right = {
        "int": isinstance(value, numbers.Integral) and not isinstance(value, bool),
        "float": isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }[kind]
    if right and kind in ("int", "float"):
        right = (low is None or value >= low) and (high is None or value <= high)
    if right:
        return ""
    whole = kind == "int" and isinstance(value, float) and value.is_integer()
    return f"{value!r} was found; expected {expected}{f'; write {value:.0f}' if whole else ''}"


def _known(name: str, declared: Mapping[str, str]) -> str:
    near = get_close_matches(name, declared, 1)
    return f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(declared)}"
