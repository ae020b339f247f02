"""The classes of the IVOA Provenance Data Model 1.0 (REC 2020-04-11) that exports fill, with their attributes.

Names are those of the recommendation. Its references and compositions between classes become columns with the `id` of
the other instance. Descriptions, parameters and relations have an `id` where something refers to them.
"""

from dataclasses import dataclass
from enum import Enum

PREFIX = "voprov"


class Kind(Enum):
    """The type of an attribute's values."""

    STRING = "string"
    DATETIME = "datetime"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Attribute:
    """An attribute of a class; a mandatory one is never null."""

    name: str
    kind: Kind = Kind.STRING
    mandatory: bool = False


def _attributes(text: str) -> tuple[Attribute, ...]:
    """Return the attributes in a text of names: `*` marks a mandatory one, `@` a reference, `:` a time."""
    kinds = {"@": Kind.REFERENCE, ":": Kind.DATETIME}
    return tuple(
        Attribute(word.lstrip("*@:"), kinds.get(word.lstrip("*")[0], Kind.STRING), word.startswith("*"))
        for word in text.split()
    )


_ENTITY = "*id name location :generatedAtTime :invalidatedAtTime comment @entityDescription"
_ENTITY_DESCRIPTION = "*id *name description docurl type"
CLASSES: dict[str, tuple[Attribute, ...]] = {
    name: _attributes(text)
    for name, text in {
        "Agent": "*id *name type comment email affiliation phone address url",
        "Activity": "*id name :startTime :endTime comment @activityDescription",
        "Entity": _ENTITY,
        "Collection": _ENTITY,
        "DatasetEntity": _ENTITY,
        "ValueEntity": f"{_ENTITY} *value",
        "Used": "*@activity *@entity role :time @usageDescription",
        "WasGeneratedBy": "*@entity *@activity role @generationDescription",
        "WasDerivedFrom": "*@generatedEntity *@usedEntity",
        "WasInformedBy": "*@informed *@informant",
        "WasAssociatedWith": "*@activity *@agent role",
        "WasAttributedTo": "*@entity *@agent role",
        "HadMember": "*@collection *@entity",
        "ActivityDescription": "*id *name version description docurl type subtype",
        "UsageDescription": "*id *@activityDescription *role description type multiplicity @entityDescription",
        "GenerationDescription": "*id *@activityDescription *role description type multiplicity @entityDescription",
        "EntityDescription": _ENTITY_DESCRIPTION,
        "DatasetDescription": f"{_ENTITY_DESCRIPTION} *contentType",
        "ValueDescription": f"{_ENTITY_DESCRIPTION} *valueType unit ucd utype",
        "WasConfiguredBy": "*@activity *artefactType @parameter @configFile",
        "Parameter": "*id *name *value @parameterDescription",
        "ParameterDescription": (
            "*id *@activityDescription *name *valueType description unit ucd utype min max options default"
        ),
        "ConfigFile": "*id *name *location comment @configFileDescription",
        "ConfigFileDescription": "*id *@activityDescription *name *contentType description",
    }.items()
}
