from pathlib import Path

import pytest

from ccat_assets.operate.declare import read_file
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.yaml_source import parse

DECLARED = """
schema_version: 1
name: letters
mode: ad_hoc
processing_location: local
data_grouping: all-data
steps:
  - name: read
    group_by: []
    software: letters
    version: 1.0.0
    resources:
      slurm: {OPTIONS}
"""


def read(tmp_path: Path, options: str) -> dict[str, str]:
    file = tmp_path / "p.yaml"
    file.write_text(DECLARED.replace("{OPTIONS}", options))
    return read_file(file).steps[0].resources.slurm


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("{acount: x}", "13:7: steps[0].resources.slurm: 'acount' is not an option for Slurm; there are account, "),
        ('{nodelist: "n1 --uid=0"}', "13:7: steps[0].resources.slurm: nodelist='n1 --uid=0' does not look like ["),
        ("{partition: 3}", "13:15: steps[0].resources.slurm.partition: must be text; quote it; value 3"),
    ],
)
def test_options_that_their_back_end_does_not_take_are_refused_at_their_place(
    tmp_path: Path, options: str, said: str
) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        read(tmp_path, options)
    assert str(refused.value).startswith(f"{tmp_path}/p.yaml:{said}")


def test_options_that_their_back_end_takes_are_declared(tmp_path: Path) -> None:
    assert read(tmp_path, "{partition: long, nice: '3'}") == {"partition": "long", "nice": "3"}


def test_a_declaration_alone_knows_no_back_ends_options() -> None:
    text = DECLARED.replace("{OPTIONS}", "{acount: x}")
    assert parse(text, file="p.yaml").steps[0].resources.slurm == {"acount": "x"}

    def check(options: object) -> None:
        raise ValueError(f"not {options}")

    assert parse(text, file="p.yaml", option_checks={"local": check}).steps[0].resources.slurm == {"acount": "x"}
    with pytest.raises(InvalidDeclaration, match=r"^p.yaml:13:7: steps\[0\].resources.slurm: not {'acount': 'x'}"):
        parse(text, file="p.yaml", option_checks={"slurm": check})
