"""The IVOA instances as a VOTable: one TABLE for each class; utypes name the class and its attributes."""

from io import BytesIO

from astropy.io.votable.tree import Field, Info, Resource, TableElement, VOTableFile

from ccat_assets.provenance.ivoa import instances_of
from ccat_assets.provenance.ivoa_instances import Row
from ccat_assets.provenance.ivoa_json import STANDARD
from ccat_assets.provenance.ivoa_model import CLASSES, PREFIX, Kind
from ccat_assets.provenance.xml_text import xml_text
from ccat_models.lineage.record import ProvenanceRecord


def ivoa_votable(record: ProvenanceRecord) -> str:
    """Return the record's instances as a VOTable 1.4; the same record always gives the same text."""
    document = VOTableFile(version="1.4")
    resource = Resource(name="provenance", utype=PREFIX)
    resource.infos.append(Info(name="standardID", value=STANDARD))
    document.resources.append(resource)
    for name, rows in instances_of(record).items():
        if rows:
            resource.tables.append(_table(document, name, rows))
    text = BytesIO()
    document.to_xml(text)
    return text.getvalue().decode()


def _table(document: VOTableFile, name: str, rows: list[Row]) -> TableElement:
    table = TableElement(document, name=name, utype=f"{PREFIX}:{name}")
    for attribute in CLASSES[name]:
        place = f"{name}.{attribute.name}"
        field = Field(document, ID=place, name=attribute.name, datatype="unicodeChar", arraysize="*")
        field.utype = f"{PREFIX}:{place}"
        if attribute.kind is Kind.DATETIME:
            field.xtype = "timestamp"
        table.fields.append(field)
    table.create_arrays(len(rows))
    for number, row in enumerate(rows):
        table.array[number] = tuple(xml_text(row.get(attribute.name, "")) for attribute in CLASSES[name])
        table.array.mask[number] = tuple(attribute.name not in row for attribute in CLASSES[name])
    return table
