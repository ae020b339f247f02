from typing import TypeVar

from pydantic import BaseModel, ValidationError

Cursor = TypeVar("Cursor", bound=BaseModel)


def read_cursor(text: str | None, otherwise: Cursor) -> Cursor:
    """Return what a sensor's cursor says; where there is none, or it cannot be read, what is given for that."""
    try:
        return otherwise if text is None else type(otherwise).model_validate_json(text)
    except ValidationError:
        return otherwise
