from typing import TypeVar

from pydantic import BaseModel, ValidationError

AnyCursor = TypeVar("AnyCursor", bound=BaseModel)


def read_cursor(text: str | None, otherwise: AnyCursor) -> AnyCursor:
    """Return a sensor's stored cursor (JSON), or `otherwise` where there is none or it cannot be read."""
    try:
        return otherwise if text is None else type(otherwise).model_validate_json(text)
    except ValidationError:
        return otherwise
