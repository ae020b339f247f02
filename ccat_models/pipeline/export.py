from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from sqlalchemy.orm import Session

from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.problems import models_in
from ccat_models.pipeline.stored import stored_document

_IN_ONE_LINE = {"trigger", "resources", "retries", "escalation", "owners", "group_by", "depends_on", "command", "code"}
_NO_FOLDING = 2**31


def export(session: Session, name: str, revision: int | None = None) -> str:
    """Return the YAML text that declares a pipeline as it is, or as it was in an earlier revision.

    Every default is written out, so that the text keeps its meaning; comments are not kept. Applying the text of the
    current revision changes nothing. Raises NotFound with the known names or revisions.
    """
    document = stored_document(session, name, revision)
    yaml = YAML()
    yaml.width = _NO_FOLDING
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    yaml.dump(_laid_out(_in_order(document, [PipelineDeclaration])), text)
    return text.getvalue()


def _in_order(value: Any, models: Sequence[type[BaseModel]]) -> Any:
    """Return the value with its keys in the models' order, else sorted: PostgreSQL does not keep the order of keys."""
    if isinstance(value, list):
        return [_in_order(item, models) for item in value]
    if not isinstance(value, Mapping):
        return _safe(value) if isinstance(value, str) else value
    fields = {key: field for model in models for key, field in model.model_fields.items()}
    keys = (key for key in fields if key in value) if models else sorted(value)
    return {_safe(key): _in_order(value[key], models_in(fields[key].annotation) if models else ()) for key in keys}


def _safe(text: str) -> str:
    # Without quotes ruamel writes characters such as U+0085 as they are, but reads them as line breaks.
    return text if text.isprintable() else DoubleQuotedScalarString(text)


def _laid_out(document: Mapping[str, Any]) -> CommentedMap:
    """Return the document for ruamel: short values in one line, keys with null left out."""
    laid_out = CommentedMap()
    for key, value in document.items():
        if value is None:
            continue
        if key == "parameters":
            laid_out[key] = value
        elif key == "rules":
            laid_out[key] = CommentedSeq([_in_one_line(rule) for rule in value])
        elif key == "quality":
            laid_out[key] = CommentedSeq([_in_one_line(_without_null(limit)) for limit in value])
        elif key in ("resources", "retention"):
            laid_out[key] = _in_one_line(_without_null(value))
        elif key in _IN_ONE_LINE:
            laid_out[key] = _in_one_line(value)
        elif isinstance(value, list):
            laid_out[key] = CommentedSeq([_laid_out(item) for item in value])
        else:
            laid_out[key] = _laid_out(value) if isinstance(value, Mapping) else value
    return laid_out


def _without_null(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _in_one_line(value: Mapping[str, Any] | list[Any]) -> CommentedMap | CommentedSeq:
    laid_out = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(value)
    laid_out.fa.set_flow_style()
    return laid_out
