from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.slurm.parse import (
    AccountRow,
    ClusterConfig,
    Malformed,
    QueueRow,
    compress,
    expand_tasks,
    parse_config,
    parse_sacct,
    parse_squeue,
    parse_submitted,
)

RECORDED = Path(__file__).parent / "goldens" / "slurm-22.05"  # of Slurm 22.05.8, by real jobs


def test_a_recorded_queue_is_read() -> None:
    rows = {row.job_id: row for row in parse_squeue((RECORDED / "squeue.txt").read_text())}
    assert len(rows) == 24
    assert rows["2023_0"] == QueueRow("2023", 0, "2023_0", "FAILED", "n1", "ccat-three", "NonZeroExitCode")
    assert rows["2028_3"] == QueueRow("2028", 3, "2028_3", "PENDING", "", "ccat-running", "JobArrayTaskLimit")
    assert rows["2025_0"].state == "CANCELLED"
    assert rows["2026_0"].state == "TIMEOUT"
    assert rows["2027_0"].state == "NODE_FAIL"
    assert (rows["4"].task, rows["4"].state) == (None, "CANCELLED")  # of --array=0, cancelled as 4_0


def test_names_of_other_jobs_may_contain_anything() -> None:
    rows = {row.job_id: row for row in parse_squeue((RECORDED / "squeue.txt").read_text())}
    assert (rows["2021"].task, rows["2021"].state, rows["2021"].name) == (None, "COMPLETED", "a\n1")
    assert (rows["2031"].state, rows["2031"].name) == ("PENDING", "else")


def test_an_empty_queue_is_empty() -> None:
    assert parse_squeue("") == []


@pytest.mark.parametrize(
    "text",
    [
        "job|1|0|1_0|RUNNING|n1|ccat-a|None",
        "job|1|0|1_0|RUNNING|n1\n",
        "job|1|0|1_0||n1|ccat-a|None\n",
        "job|x|0|1_0|RUNNING|n1|ccat-a|None\n",
        "1|0|1_0|RUNNING|n1|ccat-a|None\n",
        "slurm_load_jobs error: Unexpected message received\n",
    ],
    ids=["cut off", "too few fields", "no state", "no id", "no mark", "an error"],
)
def test_a_queue_that_is_not_as_documented_is_no_answer(text: str) -> None:
    with pytest.raises(Malformed):
        parse_squeue("job|7|0|7_0|RUNNING|n1|ccat-b|None\n" * (text[0] == "j") + text)


def test_recorded_accounts_are_read() -> None:
    rows = {row.job_id: row for row in parse_sacct((RECORDED / "sacct.txt").read_text())}
    submitted = "2026-11-23T12:25:01"
    assert rows["2024_0"] == AccountRow("2024_0", "ccattest", "FAILED", "0:9", "n1", submitted, "ccat-killed", "None")
    assert rows["2023_0"].exit_code == "3:0"
    assert rows["2026_0"].state == "TIMEOUT"


def test_a_task_that_started_has_its_own_row_whatever_its_array_says() -> None:
    rows = {row.job_id: row for row in parse_sacct((RECORDED / "sacct.txt").read_text())}
    assert (rows["2025_2"].nodes, rows["2025_2"].of_a_set) == ("n1", False)
    assert (rows["2025_5"].state, rows["2025_5"].of_a_set) == ("CANCELLED by 0", True)


def test_all_executions_of_a_job_are_listed_the_last_one_last() -> None:
    lives = [row.state for row in parse_sacct((RECORDED / "sacct.txt").read_text()) if row.job_id == "2039_0"]
    assert lives == ["NODE_FAIL", "COMPLETED"]


@pytest.mark.parametrize(
    "text",
    ["1_0|c|FAILED|1:0|n1|2026-01-01T00:00:00|ccat-a\n", "sacct: error\n", "1_[0-x]|c|FAILED|1:0|n|t|ccat-a|None\n"],
)
def test_accounts_that_are_not_as_documented_are_no_answer(text: str) -> None:
    with pytest.raises(Malformed, match="sacct"):
        parse_sacct(text)


def test_a_recorded_configuration_is_read() -> None:
    assert parse_config((RECORDED / "config.txt").read_text()) == ClusterConfig("ccattest", "22.05.8", 1001)


def test_the_scheduler_may_allow_smaller_arrays() -> None:
    # slurm.conf(5): "max_array_tasks: ... The default limit is MaxArraySize"
    text = "ClusterName = a\nMaxArraySize = 100001\nSLURM_VERSION = 24.11.5\nSchedulerParameters = x=1,max_array_tasks=500\n"
    assert parse_config(text) == ClusterConfig("a", "24.11.5", 500)


def test_a_configuration_that_was_cut_is_no_answer() -> None:
    with pytest.raises(Malformed, match="MaxArraySize"):
        parse_config("ClusterName = a\n")


@pytest.mark.parametrize("text", ["123\n", "123;cluster\n"])
def test_a_job_id_is_read(text: str) -> None:
    assert parse_submitted(text) == "123"


@pytest.mark.parametrize("text", ["", "123", "Submitted batch job 123\n", "123\n124\n", "12\x003\n", "-1\n"])
def test_nothing_else_is_taken_for_a_job_id(text: str) -> None:
    with pytest.raises(Malformed):
        parse_submitted(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123_4", ["123_4"]),
        ("123_[0,5-7%2]", ["123_0", "123_5", "123_6", "123_7"]),
        ("123_[0-4:2]", ["123_0", "123_2", "123_4"]),
        ("123_[0,2,4...]", ["123_0", "123_2"]),  # squeue(1), SLURM_BITSTR_LEN: a list of tasks is cut after 64 bytes
    ],
)
def test_a_set_of_tasks_is_expanded_into_single_tasks(text: str, expected: list[str]) -> None:
    assert expand_tasks(text) == expected


@given(st.sets(st.integers(0, 300), min_size=1))
def test_compressed_indices_are_the_same_indices(indices: set[int]) -> None:
    assert expand_tasks(f"1_[{compress(list(indices))}]") == [f"1_{index}" for index in sorted(indices)]
