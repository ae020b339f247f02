"""The text formats of exports, and their writers."""

import enum
from collections.abc import Iterator

from ccat_assets.provenance.ivoa_json import ivoa_json
from ccat_assets.provenance.ivoa_votable import ivoa_votable
from ccat_assets.provenance.openlineage import openlineage_lines
from ccat_assets.provenance.w3c import prov_json, prov_n
from ccat_models.lineage.record import RecordScope
from ccat_models.lineage.record_reading import read_in_chunks, read_record
from resources.ops_db import Session


class TextFormat(enum.Enum):
    """A format that is written into one text file."""

    PROV_JSON = "prov-json"
    PROV_N = "prov-n"
    IVOA_VOTABLE = "ivoa-votable"
    IVOA_JSON = "ivoa-json"
    OPENLINEAGE = "openlineage"


_WRITERS = {
    TextFormat.PROV_JSON: prov_json,
    TextFormat.PROV_N: prov_n,
    TextFormat.IVOA_VOTABLE: ivoa_votable,
    TextFormat.IVOA_JSON: ivoa_json,
}


def text_of(session: Session, scope: RecordScope, text_format: TextFormat, namespace: str) -> Iterator[str]:
    """Yield the parts of an export's text; for OpenLineage, one part for each chunk of runs, to save memory.

    `namespace` is OpenLineage's, for jobs and datasets.
    """
    if text_format is TextFormat.OPENLINEAGE:
        for record in read_in_chunks(session, scope):
            yield from openlineage_lines(record, namespace)
    else:
        yield _WRITERS[text_format](read_record(session, scope))
