import dagster as dg

from ccat_assets.dagit.dagster_private import report_planned


def test_planned_partitions_are_kept_as_dagster_keeps_its_own() -> None:
    key, cut = dg.AssetKey(["letters", "read"]), dg.DynamicPartitionsDefinition(name="ccat_test")

    @dg.asset(key=key, partitions_def=cut)
    def read() -> None: ...

    job = dg.Definitions(assets=[read]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("ccat_test", ["a", "b", "c"])
        run = instance.create_run_for_job(job, tags={"dagster/partition": "c"}, asset_selection=frozenset([key]))
        report_planned(instance, run, "letters__read", key, ["a", "b"])
        entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        planned = [entry.dagster_event for entry in entries]
        assert {event.partition for event in planned if event is not None} == {"a", "b", "c"}
        assert {event.job_name for event in planned if event is not None} == {run.job_name}

        def shown() -> dict[str, str | None]:
            found = instance.get_status_by_partition(key, ["a", "b", "c"], cut) or {}
            return {name: status.value if status else None for name, status in found.items()}

        instance.report_run_failed(run)
        assert shown() == {"a": "FAILED", "b": "FAILED", "c": "FAILED"}
