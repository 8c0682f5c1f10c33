"""Writes the tables of docs/study.md and its plots, and those of docs/pruning.md, from the rows of docs/study. What is not measured yet is
"not run", or left out where nothing of a row or of a plot is there.

usage: report.py [--no-plots]

Needs Python 3.9; the plots need matplotlib (pip install matplotlib==3.11.2).
"""
import argparse
import dataclasses
import itertools
import re
import statistics
import sys

import plan
from common import rows

# The tables of each page, between their markers.
PAGES = {
    plan.ROOT / "docs" / "study.md": ["progress", "detectors", "shares", "tests", "plots", "starts", "classifiers", "costs", "trainings"],
    plan.ROOT / "docs" / "pruning.md": ["pruned", "taught"],
}
NOT_RUN = "not run"
TYPES = ["f32", "bf16", "int8"]


def spread(values, digits=3):
    """Mean and, of several, their standard deviation and number."""
    if not values:
        return NOT_RUN
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return f"{mean} (1)"
    return f"{mean} ± {statistics.stdev(values):.{digits}f} ({len(values)})"


def table(headings, lines, names=1):
    """A table of Markdown, of the lines that have something behind their first cells, which are names."""
    lines = [line for line in lines if any(cell != NOT_RUN for cell in line[names:])]
    if not lines:
        return "Not run yet."
    return "\n".join(["| " + " | ".join(row) + " |" for row in [headings, ["---"] * len(headings), *lines]])


def gflops(study, model):
    row = study.speed.get((model, "size"))
    return row and row["gflops"]


def fastest(row, threads):
    """Milliseconds of the fastest round. The processor of a shared machine is slower in some rounds, which a median of rounds mixes."""
    return min(row["threads"][threads]["rounds_ms"])


def milliseconds(study, model):
    row = study.speed.get((model, "f32"))
    return row and fastest(row, "1")


# File, title, unit of the cost, the cost of a network.
PLOTS = [
    ("gflops.svg", "Accuracy against GFLOPs, with the least and the most of the seeds", "GFLOPs of an image", gflops),
    ("milliseconds.svg", "Accuracy against milliseconds", "ms of an image, f32, one thread", milliseconds),
]


class Study:
    """All rows, by what they are of."""

    def __init__(self):
        self.runs = rows(plan.STUDY / "runs.jsonl")
        self.speed = {(row["model"], row["type"]): row for row in rows(plan.STUDY / "speed.jsonl")}
        self.of_pruned = {row["run"]: row for row in rows(plan.STUDY / "pruned.jsonl")}
        self.pruned_speed = {row["run"]: row for row in rows(plan.STUDY / "pruned_speed.jsonl")}

    def of(self, data, model, started):
        """The runs of a network on these data, from a start or from nothing."""
        return [row for row in self.runs if (row["data"], row["model"], bool(row["start"])) == (data, model, started)]

    def size(self, model):
        """Millions of parameters and GFLOPs, as text."""
        row = self.speed.get((model, "size"))
        return [f"{row['parameters'] / 1e6:.2f}", f"{row['gflops']:.3f}"] if row else [NOT_RUN, NOT_RUN]

    def detectors(self):
        """Accuracy of every detector."""
        lines = []
        for model in plan.DETECTORS:
            cells = [model, *self.size(model)]
            for data, started in [("bccd", False), ("bccd", True), ("crops", False)]:
                found = self.of(data, model, started)
                cells += [spread([row["val"][key] for row in found]) for key in ("map50", "map50_95")]
            lines.append(cells)
        names = ["BCCD", "BCCD from crops", "crops"]
        headings = ["network", "M parameters", "GFLOPs", *(f"{name}, {key}" for name in names for key in ("mAP50", "mAP50-95"))]
        return table(headings, lines)

    def shares(self):
        """What ghost modules cost and save beside the first detector, of the means over the seeds."""
        first, *others = plan.DETECTORS
        lines = []
        for model in others:
            cells = [model]
            for data, split in [("bccd", "val"), ("bccd", "test"), ("crops", "val")]:
                own, whole = ([row[split]["map50_95"] for row in self.of(data, name, False)] for name in (model, first))
                points = 100 * (statistics.fmean(own) - statistics.fmean(whole)) if own and whole else None
                cells.append(NOT_RUN if points is None else f"{points:+.1f}".replace("-", "−"))
            for kind, threads in [("size", None), *itertools.product(("f32", "int8"), "12")]:
                found = [self.speed.get((name, kind)) for name in (model, first)]
                costs = [fastest(row, threads) if threads else row["gflops"] for row in found if row]
                cells.append(f"{costs[0] / costs[1]:.2f}" if len(costs) == 2 else NOT_RUN)
            lines.append(cells)
        points = ["BCCD, points", "its test images", "crops, points"]
        times = [f"time in {kind}, {threads}" for kind in ("f32", "8 bits") for threads in ("one thread", "two")]
        return table(["network", *points, "GFLOPs", *times], lines)

    def tests(self):
        """Detectors on the images that chose no epoch."""
        lines = []
        for model in plan.DETECTORS:
            cells = [model]
            for started in (False, True):
                found = self.of("bccd", model, started)
                cells += [spread([row["test"][key] for row in found]) for key in ("map50", "map50_95", "AP")]
            lines.append(cells)
        names = ["from nothing", "from crops"]
        keys = ["mAP50", "mAP50-95", "COCO's AP"]
        return table(["network", *(f"{name}, {key}" for name in names for key in keys)], lines)

    def trainings(self):
        """What the trainings took."""
        lines = []
        for data in (plan.BCCD, plan.CROPS, plan.CLOTHING):
            for model in plan.DETECTORS if data.task == "detect" else plan.CLASSIFIERS:
                found = self.of(data.name, model, False)
                per_epoch = [row["seconds"] / row["settings"]["epochs"] for row in found]
                of_processor = [row["cpu_seconds"] / row["settings"]["epochs"] for row in found if row["cpu_seconds"]]
                reached = [row["epochs_to_95_percent"] for row in found if row["epochs_to_95_percent"]]
                epochs = "nothing learnt" if found and not reached else spread(reached, 1)
                lines.append([data.name, model, spread(per_epoch, 1), spread(of_processor, 1), epochs])
        headings = ["data", "network", "seconds per epoch", "seconds of processor per epoch", "epochs to 95 % of the best"]
        return table(headings, lines, names=2)

    def starts(self):
        """What of the common start each network took."""
        lines = []
        for model in plan.DETECTORS:
            found = self.of("bccd", model, True)
            taken = found[0]["tensors_taken"] if found else None
            before = [row["val"]["map50_95"] for row in self.of("bccd", model, False)]
            after = [row["val"]["map50_95"] for row in found]
            gain = f"{after[0] - statistics.fmean(before):+.3f}" if before and after else NOT_RUN
            lines.append([model, f"{taken[0]} of {taken[1]}" if taken else NOT_RUN, gain])
        return table(["network", "tensors taken", "mAP50-95 over the mean from nothing"], lines)

    def classifiers(self):
        """Accuracy of every classifier."""
        lines = []
        for model in plan.CLASSIFIERS:
            found = self.of("clothing", model, False)
            lines.append([model, *self.size(model), *(spread([row["val"][key] for row in found]) for key in ("top1", "top5"))])
        return table(["network", "M parameters", "GFLOPs", "top-1", "top-5"], lines)

    def costs(self):
        """Files, times and memory in each type."""
        lines = []
        for model in plan.DETECTORS + plan.CLASSIFIERS:
            for kind in TYPES:
                row = self.speed.get((model, kind))
                if not row:
                    lines.append([model, kind, *[NOT_RUN] * 5])
                    continue
                metric = row["val"].get("map50_95", row["val"].get("top1"))
                one, two = (fastest(row, threads) for threads in "12")
                peak = row["threads"]["1"]["peak_memory_bytes"]
                lines.append([
                    model, kind, f"{row['file_bytes'] / 1e6:.2f}", f"{one:.2f}", f"{two:.2f}",
                    f"{peak / 1e6:.0f}" if peak else "not known", f"{metric:.3f}",
                ])
        headings = ["network", "type", "file, MB", "ms, one thread", "ms, two", "peak memory, MB", "mAP50-95 or top-1"]
        return table(headings, lines, names=2)

    def pruned(self):
        """Pruned networks beside the ones that lost nothing."""
        lines = []
        for case in [case for case in plan.pruned() if case.start != plan.TAUGHT]:
            found = self.of_pruned.get(case.name)
            whole = self.of_pruned.get(plan.Pruned(case.start, "whole", 1.0).name)
            if not found or not whole:
                continue
            after = found["after"]["val"]["map50_95"]
            untaught = dataclasses.replace(case, is_taught=False)
            own, all_of = (self.pruned_speed.get(run) for run in (untaught.name, whole["run"]))
            # Of the file that was timed; those of older rows are rounded.
            gflops_of = [(speed or {}).get("gflops", row["gflops"]) for speed, row in ((own, found), (all_of, whole))]
            by = [case.pruner, "" if case.pruner == "whole" else case.criterion, "taught" if case.is_taught else ""]
            cells = [case.start.model, ", ".join(word for word in by if word),
                     f"{gflops_of[0]:.3f} ({gflops_of[0] / gflops_of[1]:.2f})", f"{found['parameters'] / 1e6:.2f}",
                     f"{found['before']['map50_95']:.3f}", f"{after:.3f}",
                     f"{100 * (after - whole['after']['val']['map50_95']):+.1f}".replace("-", "−")]
            for threads in ("2", "1"):
                times = [fastest(speed, threads) for speed in (own, all_of) if speed]
                cells.append(f"{times[0]:.1f} ({times[0] / times[1]:.2f})" if len(times) == 2 else NOT_RUN)
            lines.append(cells)
        headings = ["network", "pruned by", "GFLOPs", "M parameters", "mAP50-95 as pruned", "trained on", "points to the whole one",
                    "ms, two threads", "ms, one"]
        return table(headings, lines, names=2)

    def taught(self):
        """A pruned network that was trained on with the whole one's answers, and without them."""
        lines = []
        for criterion, is_taught in itertools.product(plan.CRITERIA, (False, True)):
            cases = [case for case in plan.pruned() if case.start == plan.TAUGHT and case.share < 1]
            cases = [case for case in cases if (case.criterion, case.is_taught) == (criterion, is_taught)]
            found = [self.of_pruned[case.name] for case in cases if case.name in self.of_pruned]
            metrics = [spread([row["after"]["test"][key] for row in found]) for key in ("map50", "map50_95", "AP")]
            lines.append([criterion, "with the whole one's answers" if is_taught else "of the labels alone", *metrics])
        return table(["pruned by", "trained on", "mAP50", "mAP50-95", "COCO's AP"], lines, names=2)

    def progress(self):
        """How much of the plan has run, and where."""
        names = {row["run"] for row in self.runs}
        planned = [run.name for run in plan.runs()]
        processors = sorted({row["processor"] for row in [*self.runs, *self.speed.values()] if "processor" in row})
        done = sum(name in names for name in planned)
        hours = sum(row["seconds"] for row in self.runs) / 3600
        where = "; ".join(processors) or NOT_RUN
        return f"Trainings that have run: {done} of {len(planned)}, {hours:.1f} hours of the clock, beside other work. Processor: {where}."

    def plots(self):
        """The plots that show something."""
        return "\n\n".join(f"![{title}](study/{name})" for name, title, _, costs_of in PLOTS if self.compared(costs_of)) or "Not run yet."

    def compared(self, costs_of):
        """The sets of data of which two networks have both an accuracy and a cost."""
        def networks(data):
            models = {row["model"] for row in self.runs if row["data"] == data.name and not row["start"]}
            return sum(costs_of(self, model) is not None for model in models)

        return [data.name for data in (plan.BCCD, plan.CROPS, plan.CLOTHING) if networks(data) > 1]


def replace(page, name, text):
    """The page with `text` between the markers of `name`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        sys.exit(f"there is not one pair of the markers {begin.strip()} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{text}\n\n{end}", page)


def plot(study, name, unit, costs_of):
    """Accuracy against what networks cost, a panel for each set of data of which two have both; bars are the least and the most of the
    seeds.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    panels = [("bccd", "BCCD", "map50_95", plan.DETECTORS), ("crops", "crops", "map50_95", plan.DETECTORS),
              ("clothing", "clothing", "top1", plan.CLASSIFIERS)]
    panels = [panel for panel in panels if panel[0] in study.compared(costs_of)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(3.7 * len(panels), 3.4), layout="constrained", squeeze=False)
    for axis, (data, title, key, models) in zip(axes[0], panels):
        for index, model in enumerate(models):
            values = [row["val"][key] for row in study.of(data, model, False)]
            cost = costs_of(study, model)
            if not values or cost is None:
                continue
            mean = statistics.fmean(values)
            axis.errorbar(cost, mean, yerr=[[mean - min(values)], [max(values) - mean]], fmt="o", capsize=3)
            # Neighbours have their names above and below.
            axis.annotate(model, (cost, mean), xytext=(4, -11 if index % 2 else 4), textcoords="offset points", fontsize=7)
        axis.margins(0.25)
        axis.set(title=title, xlabel=unit, ylabel="mAP50-95" if key == "map50_95" else "top-1")
    figure.savefig(plan.STUDY / name, metadata={"Date": None})
    pyplot.close(figure)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--no-plots", action="store_true")
    options = arguments.parse_args()
    study = Study()
    for path, names in PAGES.items():
        page = path.read_text(encoding="utf-8")
        for name in names:
            page = replace(page, name, getattr(study, name)())
        half = path.with_suffix(".md.tmp")
        half.write_text(page, encoding="utf-8")
        half.replace(path)
    for name, _, unit, costs_of in PLOTS if not options.no_plots else []:
        if study.compared(costs_of):
            plot(study, name, unit, costs_of)
        else:
            (plan.STUDY / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
