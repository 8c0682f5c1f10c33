"""Which runs the study is of: networks, data, settings. `train.py` trains them, `report.py` shows what came of them.

What is asked: how much accuracy ghost modules cost where they replace the convolutions of YOLOv8's backbone (yolov8n-ghostnet), of its
backbone and head (yolov8n-ghostnet-all), or all its blocks in Ultralytics' way (yolov8n-ghost), and what they save; and the same
of the generations of GhostNet, as classifiers. All networks of one data set have the same settings; none was tuned.

The time it takes, by the epochs of yolov8n-ghostnet on two cores of an AMD EPYC (Zen 3) at 320 pixels, validation included, alone on the
machine and beside other work:

    bccd       205 images   4 networks x (3 seeds + 1 from a start) x 30 epochs x 15 to 18 s    2.0 to 2.4 h
    crops      622 images   4 networks x 2 seeds x 25 epochs x 38 to 55 s                       2.1 to 3.1 h
    clothing  3068 images   7 networks x 15 epochs x 36 s in the mean, at 128 pixels            1.1 h

Six hours in all. A step of ghostnet_100 takes 24 ms per image at 224 pixels, so 8 ms at 128; 29 s an epoch with its images' decoding;
the seven take 8.7 times as long together, the branches of GhostNetV3 the most.

An epoch of bccd has 13 steps, one of crops 39. Ultralytics' nominal batch of 64 would make an update of four of them; `nbs=16`
makes one of each, as runs as short as these need it.
"""
import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUDY = ROOT / "docs" / "study"

DETECTORS = ["yolov8n", "yolov8n-ghostnet", "yolov8n-ghostnet-all", "yolov8n-ghost"]
# timm's and ours have no GhostNetV2 of half the width.
CLASSIFIERS = [
    "ghostnet_050", "ghostnet_100", "ghostnetv2_100", "ghostnetv3_050", "ghostnetv3_100", "repghostnet_050", "repghostnet_100",
]

DETECT = {"imgsz": 320, "batch": 16, "nbs": 16, "optimizer": "auto", "patience": 0, "cache": "ram", "plots": "false"}
CLASSIFY = {
    "imgsz": 128, "batch": 32, "opt": "adamw", "lr": 0.001, "weight_decay": 0.02, "warmup_epochs": 1, "scale": "0.35,1",
    "patience": 0, "plots": "false",
}


@dataclasses.dataclass(frozen=True)
class Data:
    """A set of images below the folder of all data, and the settings of a training on it."""

    name: str
    task: str
    epochs: int
    settings: dict
    # What checkpoints are measured on. The best epoch is chosen on `val`.
    splits: tuple


BCCD = Data("bccd", "detect", 30, DETECT, ("val", "test"))
CROPS = Data("crops", "detect", 25, DETECT, ("val",))
CLOTHING = Data("clothing", "classify", 15, CLASSIFY, ("val",))


@dataclasses.dataclass(frozen=True)
class Run:
    """One training. `start` names the run whose best weights it takes where names and shapes allow; without, weights are random."""

    data: Data
    model: str
    seed: int
    start: "str | None" = None

    @property
    def name(self):
        return f"{self.data.name}-{self.model}-" + (f"from-{self.start.split('-')[0]}" if self.start else f"seed{self.seed}")

    @property
    def settings(self):
        """Options of the command, but for data, model, start and folders."""
        return {"epochs": self.data.epochs, "seed": self.seed, **self.data.settings}


# The network whose weights are the common start.
START = Run(CROPS, "yolov8n-ghostnet", 0)


def runs():
    """All runs, those first that say most when the rest is missing."""
    found = [Run(BCCD, model, 0) for model in DETECTORS]
    found += [START] + [Run(CROPS, model, 0) for model in DETECTORS if model != START.model]
    found += [Run(BCCD, model, 0, START.name) for model in DETECTORS]
    found += [Run(CLOTHING, model, 0) for model in CLASSIFIERS]
    found += [Run(BCCD, model, 1) for model in DETECTORS]
    found += [Run(CROPS, model, 1) for model in DETECTORS]
    found += [Run(BCCD, model, 2) for model in DETECTORS]
    return found
