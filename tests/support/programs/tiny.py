"""LettersWorld reduction programs that keep the container contract, and the pipeline they make."""

from pathlib import Path

# Copies what it reads into one product, counts its executions where CALLS points, and fails as its inputs say.
REDUCE = """
import json, os, pathlib, sys, time
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
parameters = manifest["parameters"]
out = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"])
with open(parameters["calls"], "a") as calls:
    calls.write(f'{manifest["step"]["name"]} {manifest["sub_group"]["key"]} {manifest["run"]["attempt"]}\\n')
texts = []
for source in manifest["inputs"]:
    texts += [(pathlib.Path(source["path"]) / file["path"]).read_text() for file in source["files"]]
for source in manifest["upstream"]:
    texts += [(pathlib.Path(source["path"]) / p["path"]).read_text() for p in source["products"] if p["type"] == "science"]
text = "".join(texts)
time.sleep(parameters.get("seconds", 0))
for code in (65, 75, 3):
    if f"exit {code}" in text and not ("once" in text and manifest["run"]["attempt"] > 1):
        print(f"leaving with {code}", file=sys.stderr)
        sys.exit(code)
for name in ("science", "qa"):
    (out / name).mkdir(parents=True, exist_ok=True)
(out / "science" / "text.txt").write_text(text)
(out / "qa" / "numbers.json").write_text(json.dumps({"letters": len(text), "letters_max": 1000000}))
"""


def write_programs(directory: Path) -> Path:
    """Write the program into a directory and return that."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "reduce.py").write_text(REDUCE)
    return directory


def pipeline_yaml(calls: Path, *, name: str = "letters", extra: str = "", **changes: str) -> str:
    """Return a pipeline of three steps: per scan, per scan, per source; `changes` replace single lines' values."""
    values = {
        "cooldown": "0",
        "when": "all",
        "version": "1.0.0",
        "seconds": "0",
        "policy": "compatible",
        "quality": "[]",
    } | changes
    values = {"mode": "ad_hoc", "trigger": "manual"} | values
    step = f"""    software: letters
    version: {values["version"]}
    version_policy: {values["policy"]}
    cooldown_seconds: {values["cooldown"]}
    when: {values["when"]}
    parameters: {{calls: {calls}, seconds: {values["seconds"]}}}
    resources: {{cpus: 1, memory_gb: 0.5, time_hours: 0.01}}
    quality: {values["quality"]}
"""
    return f"""schema_version: 1
name: {name}
description: Letters of scans.
owners: [team@example.org]
mode: {values["mode"]}
trigger: {{type: {values["trigger"]}}}
processing_location: local
data_grouping:
  name: {name}-data
  rules: [{{table: RawDataPackage, column: state, operator: eq, value: archived}}]
software:
  - name: letters
    versions:
      - {{version: 1.0.0, command: ["{{python}}", reduce.py], code: [reduce.py]}}
{extra}steps:
  - name: read
    group_by: [executed_obs_unit]
{step}  - name: clean
    depends_on: [read]
    group_by: [executed_obs_unit]
{step}  - name: join
    depends_on: [clean]
    group_by: [source]
{step}"""
