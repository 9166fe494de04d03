"""Executable models of loosening a microservice system step by step."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models import presets as presets
    from models import stages as stages
    from models.experiment import compare as compare
    from models.experiment import replicate as replicate
    from models.experiment import simulate as simulate
    from models.sweeping import sweep as sweep
    from models.system import System as System

_HOMES = {
    "System": "models.system",
    "simulate": "models.experiment",
    "replicate": "models.experiment",
    "compare": "models.experiment",
    "sweep": "models.sweeping",
}
__all__ = ["System", "compare", "presets", "replicate", "simulate", "stages", "sweep"]


def __getattr__(name):
    """Import a public name when it is first used, so that the command line starts at once."""
    if name in ("presets", "stages"):
        return import_module(f"models.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
