"""The IVOA instances as JSON: an object of classes, each an array of its instances."""

import json

from ccat_assets.provenance.ivoa import instances_of
from ccat_models.lineage.record import ProvenanceRecord

STANDARD = "ivo://ivoa.net/std/ProvenanceDM"


def ivoa_json(record: ProvenanceRecord) -> str:
    """Return the record's instances as JSON; the same record always gives the same text."""
    document = {"standardID": STANDARD, "version": "1.0", "model": instances_of(record)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
