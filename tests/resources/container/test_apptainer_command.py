import pytest

from resources.container.apptainer import Bind, apptainer_command
from resources.errors import UnsafePath


def test_whole_command() -> None:
    binds = [Bind("/in", "/workflow/input/a=b", read_only=True), Bind("/out", "/workflow/output", read_only=False)]
    environment = {"A": "plain $HOME", "B": "dim=v+e=f", "C": "a,b", "D": "a=b,c=d"}
    command = apptainer_command("/x.sif", binds, environment, "/workflow/output", ["python3", "-c", "x"], nv=True)
    assert command == [
        *("apptainer", "-q", "exec", "--containall", "--no-home", "--cleanenv", "--no-eval"),
        *("--net", "--network", "none", "--nv"),
        *("--bind", "/in:/workflow/input/a=b:ro", "--bind", "/out:/workflow/output:rw"),
        *("--env", "A=plain $HOME", "--env", "B=dim=v+e=f", "--env", "C=a,b", "--env", '"D=a=b,c=d"'),
        *("--pwd", "/workflow/output", "/x.sif", "python3", "-c", "x"),
    ]


def test_least_command() -> None:
    command = apptainer_command("/x.sif", [], {}, "/", [], isolate_network=False, apptainer="/opt/apptainer")
    assert command == [
        *("/opt/apptainer", "-q", "run", "--containall", "--no-home", "--cleanenv", "--no-eval"),
        *("--pwd", "/", "/x.sif"),
    ]


@pytest.mark.parametrize("path", ["/a:b", "/a,b", "relative", "", "/a\0", "/a\\b"])
@pytest.mark.parametrize("side", ["host", "container"])
def test_bind_that_could_be_misread_is_refused(path: str, side: str) -> None:
    bind = Bind(**({"host": "/h", "container": "/c", "read_only": True} | {side: path}))  # type: ignore[arg-type]
    with pytest.raises(UnsafePath, match="cannot bind"):
        apptainer_command("/x.sif", [bind], {}, "/", ["x"])


@pytest.mark.parametrize(("name", "value"), [("A B", "x"), ("A=", "x"), ("", "x"), ("A", 'x"'), ("A", "x\ny")])
def test_variable_that_could_be_misread_is_refused(name: str, value: str) -> None:
    with pytest.raises(UnsafePath, match="cannot pass"):
        apptainer_command("/x.sif", [], {name: value}, "/", ["x"])
