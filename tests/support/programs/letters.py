"""A program whose steps leave intermediate products, and the pipeline that it makes: read → clean → join."""

from pathlib import Path

# Adds what the file SALT holds to what it reads, so that the same run can be made to give something else.
REDUCE = """
import json, os, pathlib
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
parameters, step = manifest["parameters"], manifest["step"]["name"]
out = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"])
with open(parameters["calls"], "a") as calls:
    calls.write(f'{step} {manifest["sub_group"]["key"].partition("=")[2]}\\n')
texts = []
for source in manifest["inputs"]:
    texts += [(pathlib.Path(source["path"]) / file["path"]).read_text() for file in source["files"]]
for source in manifest["upstream"]:
    texts += [(pathlib.Path(source["path"]) / p["path"]).read_text() for p in source["products"] if p["path"].endswith("txt")]
salt = pathlib.Path(parameters["calls"]).with_name("salt-" + step)
text = "".join(texts) + (salt.read_text() if salt.exists() else "")
if "broken" in text:
    raise SystemExit(65)
place = out / "science" if step == "join" else out
for directory in (place, out / "qa"):
    directory.mkdir(parents=True, exist_ok=True)
(place / "text.txt").write_text(text)
if bulk := parameters["bulk"].get(step):
    (place / "bulk.dat").write_bytes(text.encode() * (bulk // len(text)))
(out / "qa" / "numbers.json").write_text(json.dumps({"letters": len(text)}))
"""


def write_program(directory: Path) -> Path:
    """Write the program into a directory and return that."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "reduce.py").write_text(REDUCE)
    return directory


def pipeline_yaml(
    calls: Path, *, join: str = "source", retention: str = "", policy: str = "compatible", bulk: str = "", end: str = ""
) -> str:
    """Return the pipeline: per scan, per scan, and per whatever joins them; `bulk`: the size of other files of steps.

    `retention` is said of the first two steps, `end` of the last one, which alone makes science products.
    """
    step = f"""    software: letters
    version: 1.0.0
    version_policy: {policy}
    parameters: {{calls: {calls}, bulk: {{{bulk}}}}}
    resources: {{cpus: 1, memory_gb: 0.5, time_hours: 0.01}}
    retries: {{science: 0, staging: 0}}
"""
    return f"""schema_version: 1
name: letters
mode: ad_hoc
processing_location: local
data_grouping:
  name: letters-data
  rules: [{{table: RawDataPackage, column: state, operator: eq, value: archived}}]
software:
  - name: letters
    versions:
      - {{version: 1.0.0, command: ["{{python}}", reduce.py], code: [reduce.py]}}
steps:
  - name: read
    group_by: [executed_obs_unit]
{step}{retention}  - name: clean
    depends_on: [read]
    group_by: [executed_obs_unit]
{step}{retention}  - name: join
    depends_on: [clean]
    group_by: [{join}]
{step}{end}"""
