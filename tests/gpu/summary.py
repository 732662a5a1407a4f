"""Puts what the stages of run.sh left into gpu.json and gpu.md.

    summary.py FOLDER COMMIT
"""

import datetime
import json
import pathlib
import sys


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def main():
    folder, commit = pathlib.Path(sys.argv[1]), sys.argv[2]
    names = ("stage", "outcome", "seconds", "last_line")
    stages = [dict(zip(names, line.split("\t")))
              for line in (folder / "stages.tsv").read_text().splitlines()]
    report = {
        "device": (folder / "device.txt").read_text().strip(),
        "commit": commit,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "stages": stages,
        "steps": read_json(folder / "steps.json"),
        "eager": read_json(folder / "eager.json"),
    }
    (folder / "gpu.json").write_text(json.dumps(report, indent=2) + "\n")

    lines = [f"# {report['device']}", "", f"Commit {commit}, {report['date']}.", "",
             "| stage | outcome | seconds | |", "|:--|:--|--:|:--|"]
    lines += [f"| {s['stage']} | {s['outcome']} | {s['seconds']} | {s['last_line']} |"
              for s in stages]
    if (folder / "step_bench.log").exists():
        log = (folder / "step_bench.log").read_text().splitlines()
        lines += ["", "## Steps, bf16", ""]
        lines += [line for line in log if line.startswith(("|", "Copy:"))]
    if report["eager"]:
        lines += ["", "## PyTorch, the eager implementation of models/ddl, bf16", "",
                  "| shape | residual | batch | tokens each | tokens/s |", "|:--|:--|--:|--:|--:|"]
        lines += [f"| {r['shape']} | {r['residual']} | {r['batch']} | {r['tokens']} | "
                  f"{r['tokens_per_s']:.0f} |" for r in report["eager"]]
    text = "\n".join(lines) + "\n"
    (folder / "gpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
