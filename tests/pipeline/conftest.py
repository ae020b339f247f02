import pytest

from resources.ops_db import OpsDb
from tests.pipeline.world import refurnish
from tests.support.shared_db import shared_ops_db

__all__ = ["shared_ops_db"]


@pytest.fixture
def world(shared_ops_db: OpsDb) -> OpsDb:
    """Give an ops-db with an observatory and locations and nothing else, once on each database."""
    refurnish(shared_ops_db)
    return shared_ops_db
