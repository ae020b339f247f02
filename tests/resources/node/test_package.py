"""The package of node programs: what it imports, how it is packed, and how it starts itself again."""

import ast
import importlib
import json
import os
import shutil
import subprocess  # noqa: TID251 - tests start real programs
import sys
from pathlib import Path

import pytest

from resources import node
from resources.node import zipapp
from resources.node.store import command as store_command
from resources.shell.remote_program import program_command
from tests.support.hands.attempts import eventually, node_program

PACKAGE = Path(node.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_python_3_6_and_imports_the_standard_library_and_this_package_alone(name: str) -> None:
    module = ast.parse((PACKAGE / name).read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    strange = {one for one in imported if one.partition(".")[0] not in sys.stdlib_module_names}
    assert {one for one in strange if f"{one}.".startswith("resources.node.")} == strange
    assert "__future__" not in imported


def test_nothing_is_used_that_python_3_6_does_not_have() -> None:
    command = [Path(sys.executable).with_name("vermin"), "--target=3.6-", "--no-tips", str(PACKAGE)]
    checked = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert (checked.returncode, "Minimum required versions: 3." in checked.stdout) == (0, True), checked.stdout


def test_the_zipapp_depends_on_the_sources_alone(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "resources" / "node", copy_function=shutil.copyfile)
    (tmp_path / "resources" / "__init__.py").touch()
    for path in (tmp_path / "resources" / "node").rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (10**9, 10**9))
    build = "import sys; sys.path.insert(0, sys.argv[1]); from resources.node import zipapp; sys.stdout.buffer.write(zipapp.content())"
    elsewhere = subprocess.run([sys.executable, "-I", "-c", build, tmp_path], capture_output=True, check=True)
    assert elsewhere.stdout == zipapp.content()
    with (tmp_path / "resources" / "node" / "files.py").open("a") as file:
        file.write("# changed\n")
    changed = subprocess.run([sys.executable, "-I", "-c", build, tmp_path], capture_output=True, check=True)
    assert changed.stdout != zipapp.content()


def test_every_request_to_the_store_has_its_function() -> None:
    for name, module in store_command._MODULES.items():
        assert callable(getattr(importlib.import_module(f"resources.node.store.{module}"), f"answer_{name}"))
    with pytest.raises(KeyError):
        store_command.answer({"do": "main"})


@pytest.mark.parametrize("words", [[], ["stroe"], ["wrapper"], ["wrapper", "a"], ["image", "a"], ["stage"]])
def test_a_command_line_that_is_none_is_answered_with_the_usage(words: list[str]) -> None:
    command = program_command(sys.executable, node_program(), *words)
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.startswith("usage: node.pyz ")) == (78, "", True)


def ask_for_a_checksum(command: list[str], stdin: bytes, directory: Path) -> dict[str, object]:
    files = [[str(directory), "large", 5]]
    request = {"do": "checksum", "files": files, "at_once_bytes": 1, "notes": str(directory / "notes"), "asker": "me"}
    asked = stdin + json.dumps(request).encode()
    done = subprocess.run(command, input=asked, capture_output=True, check=True, cwd=directory)
    (answer,) = json.loads(done.stdout)["files"]
    return dict(answer)


@pytest.mark.parametrize("how", ["installed", "by a relative path", "sent"])
def test_a_process_that_the_program_starts_of_itself_runs(tmp_path: Path, how: str) -> None:
    (tmp_path / "large").write_bytes(b"large")
    shutil.copy(node_program(), tmp_path / "node.pyz")
    command, stdin = program_command(sys.executable, node_program(), "store"), b""
    if how == "by a relative path":
        command = program_command(sys.executable, Path("node.pyz"), "store")
    elif how == "sent":
        command, stdin = zipapp.sent_command(sys.executable, ["store"])
    assert ask_for_a_checksum(command, stdin, tmp_path) == {"size": 5, "sha256": None, "read": 0}
    (note,) = (path for path in (tmp_path / "notes").iterdir() if path.suffix != ".asked")
    eventually(lambda: "sha256" in json.loads(note.read_text()))
    found = ask_for_a_checksum(command, stdin, tmp_path)
    assert found["sha256"] == "d35c416a85b807e9b5384915d6ebb4a9f7352713efd89857b45a242f473728a9"
