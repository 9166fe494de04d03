"""The format of a system file as JSON Schema (draft 2020-12), which editors complete and check by.

It is made from the parts that read the file, so it cannot differ from them: every key with what it
is, in which unit, what it may be and what it is if nothing is said. It refuses what has the wrong
shape, an unknown key or a value out of its range. What needs the whole system to be judged (a name
that is not there, fields that do not fit together) is left to `decouple check`.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from models.system import System


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # the key says it

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The schema of a system file."""
    made = System.model_json_schema(schema_generator=_Generator)
    return {
        "$schema": _Generator.schema_dialect,
        **made,
        "title": "A system of Decoupling in Stages",
        "description": "Infrastructures, network, brokers, services and flows of a system.",
    }
