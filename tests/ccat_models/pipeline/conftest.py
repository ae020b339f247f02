import pytest

from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import refurnish


@pytest.fixture
def world(shared_ops_db: OpsDb) -> OpsDb:
    """Give an ops-db with an observatory and locations and nothing else, once on each database."""
    refurnish(shared_ops_db)
    return shared_ops_db
