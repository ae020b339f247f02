"""A reduction that does what its scan says: exit N, signal N, sleep S, take MEGABYTES, look; `first` for attempt 1."""

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

manifest = json.loads(Path(os.environ["WORKFLOW_MANIFEST"]).read_text(encoding="utf-8"))  # noqa: TID251
output = Path(os.environ["WORKFLOW_OUTPUT_DIR"])  # noqa: TID251
for directory in ("science", "qa", "logs"):
    (output / directory).mkdir()
(output / "logs" / "environment.json").write_text(json.dumps(dict(os.environ)), encoding="utf-8")  # noqa: TID251

places = [Path(source["path"]) for source in (*manifest["inputs"], *manifest["upstream"])]
files = [Path(s["path"]) / file["path"] for s in manifest["inputs"] for file in s["files"]]
files += [Path(s["path"]) / p["path"] for s in manifest["upstream"] for p in s["products"] if p["type"] == "science"]
text = "".join(path.read_text(encoding="utf-8") for path in files)
words = text.split()[1:]

if "first" not in words or manifest["run"]["attempt"] == 1:
    for word, number in itertools.pairwise(words):
        if word == "exit":
            sys.stderr.write("leaving with " + number + "\n")
            sys.exit(int(number))
        if word == "signal":
            os.kill(os.getpid(), getattr(signal, number))
        if word == "sleep":
            time.sleep(float(number))
if "take" in words:
    taken = b"x" * (int(words[words.index("take") + 1]) << 20)
if "look" in words:
    refused = {}
    for place in (*places, *files, Path(os.environ["WORKFLOW_MANIFEST"])):  # noqa: TID251
        try:
            (place / "written" if place.is_dir() else place).write_text("x", encoding="utf-8")
        except OSError as error:
            refused[str(place)] = error.errno
    seen = [name for name in manifest["parameters"]["hidden"] if Path(name).exists()]
    (output / "science" / "seen.json").write_text(json.dumps({"refused": refused, "seen": seen}), encoding="utf-8")

(output / "science" / "text.txt").write_text(text, encoding="utf-8")
(output / "qa" / "numbers.json").write_text(json.dumps({"letters": len(text), "letters_max": 1000}), encoding="utf-8")
