"""Which runs the study is of: networks, data, settings. `train.py` trains them, `prune.py` prunes some, `report.py` shows what came of it.

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
    title: str
    # Whom the data's licence asks to name, or who is thanked.
    attribution: str


BCCD = Data("bccd", "detect", 30, DETECT, ("val", "test"), "BCCD", "Trained on BCCD, MIT, copyright 2017 shenggan")
CROPS = Data(
    "crops", "detect", 25, DETECT, ("val",), "Okra, Pepper & Eggplant Detection Dataset",
    "Okra, Pepper & Eggplant Detection Dataset, Fatih Emin, CC BY 4.0, images re-encoded",
)
CLOTHING = Data(
    "clothing", "classify", 15, CLASSIFY, ("val",), "clothing-dataset-small",
    "Trained on clothing-dataset-small, Alexey Grigorev and contributors, CC0, images scaled down",
)


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


@dataclasses.dataclass(frozen=True)
class Shipped:
    """A checkpoint that the command has, which was trained on these data."""

    data: Data
    model: str
    seed: int = 0

    @property
    def name(self):
        return self.model


# What of a trained network's GFLOPs pruning leaves, and by whom; 1 is the network itself, trained on for the same epochs.
SHARES = {"whole": [1.0], "ghostzoo": [0.7, 0.5], "torch-pruning": [0.7, 0.5]}


@dataclasses.dataclass(frozen=True)
class Pruned:
    """The best weights of a run, or a checkpoint that ships, pruned and trained on; with the answers of the whole one where it teaches."""

    start: "Run | Shipped"
    pruner: str
    share: float
    seed: int = 0
    is_taught: bool = False
    criterion: str = "l2"

    @property
    def name(self):
        parts = [f"pruned-{self.start.name}-{self.pruner}", f"{self.share}" if self.share < 1 else ""]
        parts += [self.criterion if self.criterion != "l2" else ""]
        parts += [f"seed{self.seed}" if self.seed else "", "taught" if self.is_taught else ""]
        return "-".join(part for part in parts if part)

    @property
    def settings(self):
        """A short training: its warm-up is one epoch, and its last three have whole images."""
        return {**self.start.data.settings, "seed": self.seed, "epochs": 10, "warmup_epochs": 1, "close_mosaic": 3}


# The network that teaches what pruning took away, and the seeds with and without it.
TAUGHT = Shipped(BCCD, "yolov8n-ghostnet-bccd")
TAUGHT_SEEDS = [0, 1, 2]
CRITERIA = ["l2", "taylor"]


@dataclasses.dataclass(frozen=True)
class Published:
    """A network that is given away: the best weights of a training, under a name and a licence of the Hub."""

    name: str
    run: "Run | Pruned"
    data: Data
    licence: str
    is_in_8_bits: bool = False


PUBLISHED = [
    Published("yolov8n-crops", Pruned(Run(CROPS, "yolov8n", 0), "whole", 1.0), CROPS, "cc-by-4.0", is_in_8_bits=True),
    Published("ghostnetv3_100-clothing", Run(CLOTHING, "ghostnetv3_100", 0), CLOTHING, "cc0-1.0"),
]


def pruned():
    """All pruned networks, with those that they stand beside."""
    starts = [START, Run(CROPS, "yolov8n", 0)]
    found = [Pruned(start, pruner, share) for start in starts for pruner, shares in SHARES.items() for share in shares]
    found += [Pruned(start, "ghostzoo", share, is_taught=True) for start in starts for share in SHARES["ghostzoo"]]
    for is_taught in (False, True):
        found += [
            Pruned(start, "ghostzoo", share, is_taught=is_taught, criterion="taylor") for start in starts for share in SHARES["ghostzoo"]
        ]
    found += [Pruned(TAUGHT, "whole", 1.0)]
    return found + [
        Pruned(TAUGHT, "ghostzoo", 0.5, seed, is_taught, criterion)
        for criterion in CRITERIA for seed in TAUGHT_SEEDS for is_taught in (False, True)
    ]


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
