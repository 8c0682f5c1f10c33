"""Writes the folders that the Hugging Face Hub wants of the study's best networks: `plan.PUBLISHED`.

usage: publish.py --output FOLDER [--command GHOSTZOO] [--data FOLDER] [--runs FOLDER] [--only NAME …]

Needs Python 3.9 and the trainings' weights: `train.py --again`, `prune.py`. FOLDER/NAME gets README.md, model.safetensors, config.json and
LICENSE; of a network that ships in 8 bits FOLDER/NAME.safetensors is that file. Nothing is uploaded.
"""
import fnmatch
import json
import pathlib
import sys

import plan
from common import Failed, attempted, parser, started


def written(case, commands, options):
    """Writes the folder, which it gives, and the file in 8 bits where there is one."""
    folder, log = options.output / case.name, options.runs / f"publish-{case.name}.log"
    best = options.runs / case.run.name / "weights" / "best.safetensors"
    if not best.exists():
        raise Failed(f"waits for {case.run.name}")
    data = options.data / case.data.name
    given = data / "data.yaml" if case.data.task == "detect" else data
    size = str(case.data.settings["imgsz"])
    measure = ["val", "--plots", "false", "--imgsz", size, "--save-dir", str(options.runs / f"publish-{case.name}"), "--exist-ok"]
    words = measure if case.data.task == "detect" else ["eval"]
    found = commands.json([*words, "--model", str(best), "--data", str(given), "--split", "val"], log)
    metrics = options.runs / f"publish-{case.name}.json"
    metrics.write_text(json.dumps(found), encoding="utf-8")
    commands.run(
        ["publish", "--model", str(best), "--dry-run", "-o", str(folder), "--license", case.licence, "--dataset", case.data.title,
         "--split", "val", "--metrics", str(metrics), "--attribution", case.data.attribution, "--quiet"], log,
    )
    if case.is_in_8_bits:
        file = options.output / f"{case.name}.safetensors"
        words = ["quantize", "--model", str(folder / "model.safetensors"), "--data", str(given), "--imgsz", size]
        commands.run([*words, "-o", str(file), "--quiet"], log)
    return folder


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--output", required=True, type=pathlib.Path, metavar="FOLDER", help="where the folders go")
    arguments.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="networks of these names alone; * and ? are allowed")
    options = arguments.parse_args()
    commands, lock = started(options)
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    with lock:
        for case in [case for case in plan.PUBLISHED if any(fnmatch.fnmatch(case.name, pattern) for pattern in options.only)]:
            folder = attempted(case.name, lambda case=case: written(case, commands, options))
            failed += folder is None
            if folder:
                print(f"{case.name}: {folder}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
