"""A pipeline as it is declared, in YAML or through the API."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from ccat_models.pipeline.checks import find_problems
from ccat_models.pipeline.parts import (
    DataGroupingDeclaration,
    Filled,
    Lax,
    ManualTrigger,
    Owner,
    SoftwareDeclaration,
    StepDeclaration,
    Trigger,
)
from ccat_models.pipeline.values import MAX_INTEGER, DeclaredModel, Name, Positive, Retention, Text
from ccat_models.tables.pipelines import FanIn, Keep, PipelineMode


def _grouping_form(value: Any) -> str | None:
    if isinstance(value, str):
        return "a name"
    return "a definition" if isinstance(value, Mapping | DataGroupingDeclaration) else None


class PipelineDeclaration(DeclaredModel):
    """A whole pipeline.

    Defaults: without `enabled`, the pipeline's state does not change. `when` is `any` in a standing pipeline and `all`
    in an ad-hoc one. A step is final if no other depends on it. Products of final steps are always kept, those of other
    steps while they are needed. `max_in_flight` limits the runs of all steps together. With `partition_horizon_days`,
    Dagster's partitions are only the sub-groups that were active in so many days.
    """

    schema_version: Literal[1]
    name: Name
    description: Text = ""
    owners: Annotated[tuple[Owner, ...], Lax] = ()
    mode: Annotated[PipelineMode, Lax]
    trigger: Trigger = ManualTrigger(type="manual")
    priority: Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)] = 0
    max_in_flight: Positive | None = None
    partition_horizon_days: Positive | None = None
    enabled: bool | None = None
    processing_location: Annotated[Text, Field(min_length=1, max_length=100)]
    data_grouping: Annotated[
        Annotated[Name, Tag("a name")] | Annotated[DataGroupingDeclaration, Tag("a definition")],
        Discriminator(_grouping_form),
    ]
    software: Annotated[tuple[SoftwareDeclaration, ...], Lax] = ()
    steps: Filled[StepDeclaration]

    @model_validator(mode="after")
    def _consistent(self) -> "PipelineDeclaration":
        grouping = None if isinstance(self.data_grouping, str) else self.data_grouping
        problems = find_problems(self.steps, self.software, grouping)
        if problems:
            text = "\n".join(str(problem) for problem in problems)
            raise PydanticCustomError("inconsistent", "{text}", {"text": text, "problems": problems})
        return self

    @property
    def data_grouping_name(self) -> str:
        """Return the name of the data grouping, which the declaration defines or refers to."""
        return self.data_grouping if isinstance(self.data_grouping, str) else self.data_grouping.name

    def with_defaults(self) -> "PipelineDeclaration":
        """Return the declaration with the defaults of `when`, `final`, `retention` and check names written out."""
        fan_in = FanIn.ANY if self.mode is PipelineMode.STANDING else FanIn.ALL
        needed = {upstream for step in self.steps for upstream in step.depends_on}
        steps = tuple(_with_defaults(step, fan_in, needed=step.name in needed) for step in self.steps)
        return self.model_copy(update={"steps": steps})


def _with_defaults(step: StepDeclaration, fan_in: FanIn, *, needed: bool) -> StepDeclaration:
    final = not needed if step.final is None else step.final
    keep = Keep.ALWAYS if final or not needed else Keep.WHILE_NEEDED
    return step.model_copy(
        update={
            "when": step.when or fan_in,
            "final": final,
            "quality": tuple(limit.named() for limit in step.quality),
            "retention": step.retention or Retention(keep=keep),
        }
    )
