from ccat_models.tables import (
    execution,
    gaps,
    lineage,
    observation,
    observatory,
    pipelines,
    places,
    products,
    quality,
    raw_data,
    space,
    staging,
    taints,
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
    "quality",
    "raw_data",
    "space",
    "staging",
    "taints",
]
