from pathlib import Path
from typing import Any

import pytest

from tests.support.hands.cli import Terminal

DATABASE = "CCAT_DATABASE_URL"


def verdicts(terminal: Terminal, **environment: str) -> dict[str, tuple[str, str]]:
    said = terminal.ccat("doctor", "--json", **environment)
    found = {item["what"]: (item["verdict"], item["finding"]) for item in said.json}
    assert said.code == any(verdict == "broken" for verdict, _ in found.values())
    return found


def shown(terminal: Terminal, **environment: str) -> dict[str, tuple[Any, str]]:
    said = terminal.ok("settings", "--json", **environment)
    return {row["name"]: (row["value"], row["origin"]) for row in said.json}


def test_init_makes_everything_once(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    done = terminal.json("init")["done"]
    assert [step.split()[0] for step in done] == ["made"] * 4 + ["migrated", "registered", "wrote"]
    before = terminal.dump()
    assert terminal.ok("init").out == f"{terminal.home}: nothing to do\n"
    assert terminal.dump() == before
    assert {verdict for verdict, _ in verdicts(terminal).values()} <= {"ok", "note"}


def test_init_makes_no_local_directory_for_a_workspace_on_a_cluster(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    base = tmp_path / "lustre" / "pipelines"
    said = terminal.ok(
        "init",
        "--json",
        CCAT_HPC_BACKEND="slurm",
        CCAT_SSH_HOST="login.example.org",
        CCAT_SSH_KNOWN_HOSTS=str(tmp_path / "known_hosts"),
        CCAT_PIPELINE_BASE_DIR=str(base),
    )
    assert f"registered data location 'local' in {base}" in said.json["done"]
    assert not base.exists()


def test_a_login_node_needs_its_host_key(terminal: Terminal) -> None:
    said = terminal.ccat("settings", CCAT_HPC_BACKEND="slurm", CCAT_SSH_HOST="login.example.org")
    assert said.code == 1
    assert "ssh_host needs ssh_known_hosts: a file with its host key" in said.err


@pytest.mark.parametrize("command", ["runs", "plan letters", "ingest .", "pipeline list", "run letters", "publish"])
def test_commands_before_init_say_what_to_do(tmp_path: Path, command: str) -> None:
    terminal = Terminal(tmp_path)
    said = terminal.ccat(*command.split())
    assert (said.code, said.err) == (1, f"error: no ops-db at {terminal.home / 'ops.sqlite'}: run `ccat init` first\n")
    assert not terminal.home.exists()


def test_a_workspace_that_moved_is_refused(terminal: Terminal) -> None:
    elsewhere = str(terminal.base / "elsewhere")
    said = terminal.refused("init", CCAT_PIPELINE_BASE_DIR=elsewhere)
    assert said.startswith(f"data location 'local' of ops-db is {terminal.home / 'workspace'}, ")
    assert elsewhere in said


def test_doctor_finds_what_is_broken(tmp_path: Path) -> None:
    found = verdicts(Terminal(tmp_path))
    broken = {what for what, (verdict, _) in found.items() if verdict == "broken"}
    assert broken == {"home", "workspace", "dagster", "ops-db"}
    assert found["home"][1] == f"no directory {tmp_path / 'home'}: run `ccat init`"


def test_doctor_in_words_has_exit_code_1_where_something_is_broken(terminal: Terminal) -> None:
    assert "ops-db: sqlite:///" in terminal.ok("doctor").out
    (terminal.home / "dagster" / "dagster.yaml").unlink()
    said = terminal.ccat("doctor")
    assert (said.code, "broken  dagster: " in said.out) == (1, True)


def test_a_database_that_does_not_answer_is_an_error_without_its_password(terminal: Terminal) -> None:
    url = "postgresql://ada:hidden-word@127.0.0.1:1/ops"
    assert verdicts(terminal, CCAT_DATABASE_URL=url)["ops-db"][0] == "broken"
    said = terminal.ccat("runs", CCAT_DATABASE_URL=url)
    assert (said.code, said.err.startswith("error: ops-db does not answer")) == (1, True)
    assert "hidden-word" not in said.err + str(verdicts(terminal, CCAT_DATABASE_URL=url))


def test_doctor_names_a_processing_location_that_is_not_there(terminal: Terminal) -> None:
    verdict, finding = verdicts(terminal, CCAT_PROCESSING_LOCATION_ID="77")["processing location"]
    assert (verdict, finding) == ("broken", "no processing location '77'; known: 1 (local)")


def test_settings_say_where_each_came_from(terminal: Terminal) -> None:
    (terminal.home / "settings.toml").write_text('poll_seconds = 9\nuser = "grace"\nslurm_partition = "short"\n')
    found = shown(terminal)
    assert found["user"] == ("ada", "environment CCAT_USER")
    assert found["slurm_partition"] == ("short", str(terminal.home / "settings.toml"))
    assert found["poll_seconds"] == ("0.02", "environment CCAT_POLL_SECONDS")
    assert found["observe_seconds"] == ("5.0", "default")
    assert found["database_url"] == (None, "default")
    assert "environment CCAT_USER" in terminal.ok("settings").out


def test_a_settings_file_may_be_elsewhere(terminal: Terminal) -> None:
    file = terminal.base / "other.toml"
    file.write_text("lease_seconds = 12\n")
    assert shown(terminal, CCAT_SETTINGS_FILE=str(file))["lease_seconds"] == ("12.0", str(file))
    said = terminal.refused("settings", CCAT_SETTINGS_FILE=str(terminal.base / "none.toml"))
    assert said == f"environment CCAT_SETTINGS_FILE: no file {terminal.base / 'none.toml'}"


def test_the_observatory_s_own_names_are_read_and_ours_come_first(terminal: Terminal) -> None:
    theirs = {"CCAT_WORKFLOW_MANAGER_SLURM_PARTITION": "long", "CCAT_WORKFLOW_MANAGER_K8S_NAMESPACE": "theirs"}
    found = shown(terminal, **theirs, CCAT_K8S_NAMESPACE="ours")
    assert found["slurm_partition"] == ("long", "environment CCAT_WORKFLOW_MANAGER_SLURM_PARTITION")
    assert found["k8s_namespace"] == ("ours", "environment CCAT_K8S_NAMESPACE")


def test_secrets_are_masked(terminal: Terminal) -> None:
    url = "postgresql://ada:hidden-word@host/ops"
    said = terminal.ok("settings", "--json", CCAT_DATABASE_URL=url)
    assert "hidden-word" not in said.out + terminal.ok("settings", CCAT_DATABASE_URL=url).out
    assert shown(terminal, CCAT_DATABASE_URL=url)["database_url"] == ("**********", "environment CCAT_DATABASE_URL")


def test_a_home_below_one_s_own_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "settings.toml").write_text('user = "grace"\n')
    terminal = Terminal(tmp_path)
    terminal.environment.pop("CCAT_USER")
    found = shown(terminal, HOME=str(tmp_path), CCAT_HOME="~/mine")
    assert found["home"] == (str(tmp_path / "mine"), "environment CCAT_HOME")
    assert found["user"][0] == "grace"


WRONG = [
    (
        "CCAT_POLL_SECOND",
        "1",
        "environment CCAT_POLL_SECOND: unknown setting (did you mean CCAT_POLL_SECONDS?); choose",
    ),
    ("CCAT_WORKFLOW_MANAGER_USER", "x", "choose from: CCAT_WORKFLOW_MANAGER_HPC_BACKEND, "),
    ("CCAT_POLL_SECONDS", "0", "environment CCAT_POLL_SECONDS: poll_seconds: Input should be greater than 0, got '0'"),
    ("CCAT_HPC_BACKEND", "slurmm", "hpc_backend: Input should be 'local'"),
    (
        "CCAT_OPENLINEAGE_URL",
        "https://ada:hidden-word@lineage.example.org",
        "openlineage_url: Value error, must be a web address without credentials or query, e.g. https://products",
    ),
    (
        "CCAT_OPENLINEAGE_URL",
        "https://lineage.example.org/?key=hidden-word",
        "openlineage_url: Value error, must be a ",
    ),
    ("CCAT_OPENLINEAGE_URL", "https://hidden-word@lineage.example.org", "https://products.example.org, got (secret)"),
    ("CCAT_OPENLINEAGE_URL", "nowhere", "got 'nowhere'"),
    ("CCAT_PRODUCTS_URL", "https://hidden-word@products.example.org/x", "products_url: Value error, must be a web "),
    (
        "CCAT_OPENLINEAGE_API_KEY",
        "hidden-word\nx",
        "openlineage_api_key: Value error, must be ASCII letters, digits and ",
    ),
    ("CCAT_USER", "u" * 201, "environment CCAT_USER: user: String should have at most 200 characters, got 'uuu"),
    (DATABASE, "hidden-word", "environment CCAT_DATABASE_URL: database_url: Value error, must be a URL, e.g. "),
]


@pytest.mark.parametrize(
    ("name", "value", "message"), WRONG, ids=[f"{name}={value[:20]!r}" for name, value, _ in WRONG]
)
@pytest.mark.parametrize("command", ["settings", "doctor", "init", "runs"])
def test_a_wrong_variable_is_refused_with_the_choices(
    terminal: Terminal, command: str, name: str, value: str, message: str
) -> None:
    said = terminal.refused(command, **{name: value})
    assert message in said
    assert "hidden-word" not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pol_seconds = 1\n", "pol_seconds: unknown setting (did you mean POLL_SECONDS?); choose from: home, "),
        (b"local_slots = 0\n", "local_slots: Input should be greater than or equal to 1, got 0"),
        (b"user =\n", "not TOML: "),
        (b"user = '\xff'\n", "not TOML: "),
    ],
)
def test_a_wrong_settings_file_is_refused_with_the_choices(terminal: Terminal, content: bytes, message: str) -> None:
    terminal.environment.pop("CCAT_LOCAL_SLOTS")
    (terminal.home / "settings.toml").write_bytes(content)
    said = terminal.refused("settings")
    assert said.startswith(str(terminal.home / "settings.toml"))
    assert message in said
