"""A program that keeps the container contract: every path comes from manifest.json and WORKFLOW_OUTPUT_DIR."""

import json
import os
import socket
import sys
from pathlib import Path

environment = {name: value for name, value in os.environ.items() if name.startswith("WORKFLOW_")}  # noqa: TID251
manifest = json.loads(Path(environment["WORKFLOW_MANIFEST"]).read_text(encoding="utf-8"))
output = Path(environment["WORKFLOW_OUTPUT_DIR"])
assert not list(output.iterdir())

seen = {}
for source in (*manifest["inputs"], *manifest["upstream"]):
    for file in (*source.get("files", ()), *source.get("products", ())):
        path = Path(source["path"]) / file["path"]
        seen[file["path"]] = path.read_text(encoding="utf-8")

refused = []
for place in (*[source["path"] for source in manifest["inputs"] + manifest["upstream"]], "/workflow/config"):
    try:
        Path(place, "written").write_text("x", encoding="utf-8")
    except OSError as error:
        refused.append(error.errno)

for directory in ("science", "qa", "plots", "statistics", "logs", "intermediate"):
    (output / directory).mkdir()
(output / "science" / "seen.json").write_text(json.dumps(seen), encoding="utf-8")
(output / "qa" / "noise.json").write_text('{"noise": 1.5, "noise_max": 2.0}', encoding="utf-8")
(output / "logs" / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
interfaces = sorted(name for _, name in socket.if_nameindex())
(output / "statistics" / "place.json").write_text(
    json.dumps(
        {"refused": refused, "root": sorted(path.name for path in Path("/").iterdir()), "interfaces": interfaces}
    ),
    encoding="utf-8",
)
Path(os.environ.get("TMPDIR", "/tmp"), "scratch").write_text("x", encoding="utf-8")  # noqa: TID251
sys.stdout.write("reduced\n")
sys.exit(int(manifest["parameters"].get("exit_code", 0)))
