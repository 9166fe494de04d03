"""A system as a picture, made from the data: infrastructures, services, calls and messages."""

from typing import Any

import pandas as pd


def draw(system: Any, requests: Any = None) -> str:
    """The system as an SVG."""
    return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"></svg>'


def plain(svg: str) -> str:
    """The SVG with fixed colours."""
    return svg


def describe(system: Any) -> str:
    """The drawing in one or two sentences."""
    return f"The system {system.name}."


def steps(system: Any) -> pd.DataFrame:
    """The rows behind the drawing."""
    return pd.DataFrame({"service": list(system.services)})
