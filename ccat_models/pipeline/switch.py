import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.pipelines import Pipeline


def switch(session: Session, name: str, *, enabled: bool) -> bool:
    """Enable or disable a pipeline, which is a state and makes no revision; say whether that changed anything.

    In a request's transaction: nobody creates its runs meanwhile. Raises NotFound with the known pipelines.
    """
    pipeline = load_pipeline(session, name)
    if pipeline.enabled is not enabled:
        session.execute(sa.update(Pipeline).where(Pipeline.id == pipeline.pipeline_id).values(enabled=enabled))
    return pipeline.enabled is not enabled
