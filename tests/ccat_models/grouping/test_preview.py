from ccat_models.grouping.preview import Preview, PreviewMember, preview
from ccat_models.grouping.rules import validate_rules
from ccat_models.tables.raw_data import PackageState
from resources.ops_db import OpsDb
from tests.support.worlds.grouping import execution, observatory, package


def test_a_preview_counts_all_and_shows_the_first_by_name(ops_db: OpsDb) -> None:
    with ops_db.write() as session:
        observatory(session)
        scan = execution(session, 0, 1)
        package(session, "b", scan, module=2, state=PackageState.WAITING)
        package(session, "a", scan).size_bytes = 7
        package(session, "c", execution(session, 1, 2), module=2)
    rules = validate_rules([{"table": "Source", "column": "name", "operator": "eq", "value": "NGC253"}])
    first = PreviewMember("a", "scan 0", "CHAI", PackageState.ARCHIVED, 7)
    second = PreviewMember("b", "scan 0", "CHAI HFA", PackageState.WAITING, 0)
    with ops_db.read() as session:
        assert preview(session, rules, 10) == Preview(2, (first, second))
        assert preview(session, rules, 1) == Preview(2, (first,))
        assert preview(session, rules, 10, instrument_module_id=2) == Preview(1, (second,))
