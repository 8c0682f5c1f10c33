"""Writes tools/data/imagenet_classes.txt: the 1,000 ImageNet classes in class order, `wnid<TAB>lemmas` a line.

pip: timm==1.0.31 (its package data, Apache-2.0)
"""

from importlib.resources import files
from pathlib import Path

info = files("timm") / "data" / "_info"
lemmas = dict(line.split("\t") for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines())
wnids = (info / "imagenet_synsets.txt").read_text().split()
assert len(wnids) == 1000
out = Path(__file__).parents[2] / "tools" / "data" / "imagenet_classes.txt"
out.write_text("".join(f"{wnid}\t{lemmas[wnid]}\n" for wnid in wnids))
