from ccat_models.tables import (
    execution,
    gaps,
    lineage,
    observation,
    observatory,
    pipelines,
    places,
    products,
    raw_data,
)
from ccat_models.tables.base import Base

__all__ = [
    "Base",
    "execution",
    "gaps",
    "lineage",
    "observation",
    "observatory",
    "pipelines",
    "places",
    "products",
    "raw_data",
]
