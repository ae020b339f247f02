from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.document import Document


@dataclass(frozen=True)
class Application:
    """A declaration that is being applied, by whom and when; `found` and `wanted` are the outlines before and after."""

    declaration: PipelineDeclaration
    document: Document
    found: Mapping[str, Any]
    wanted: Mapping[str, Any]
    applied_by: str
    now: datetime
