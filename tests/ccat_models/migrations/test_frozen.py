"""A released migration never changes: databases that it has made would differ from those that it makes now."""

import hashlib
from pathlib import Path

import pytest

from ccat_models import migrations

FOLDER = Path(migrations.__file__).parent
RELEASED = {
    "versions/0001_tables.py": "f3e0b2706406fbcb305b0d9ae3b992f73181564bb5eab2d271cbfa89e4f497ea",
    "versions/0002_is_result.py": "e921b1040dc5891bb069fa732b9f5b747efcf1cce0a483992ae36ddd72316f47",
    "versions/0003_purpose.py": "d657c94b1862101efe7dd52b991a51ebbfaf3aeff2fa1dbee9b78cc455155f1a",
    "column_types.py": "9f7e2ed4a22bb9170db955a327bf82ccea647fa224d7edbe33d3b08634d963d7",
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_migration_is_as_it_was(name: str) -> None:
    found = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    assert found == RELEASED[name], f"{name} is released: take the change back and run `make migration MESSAGE=…`"


def test_all_released_migrations_are_there() -> None:
    numbers = [name.removeprefix("versions/")[:4] for name in RELEASED if name.startswith("versions/")]
    assert numbers == [f"{number + 1:04d}" for number in range(len(numbers))]
