#!/usr/bin/env bash
# torch-pruning 1.6.1 with torch 2.15.0: a network that puts the halves of `chunk` together in the other order, as shuffled groups do, is
# pruned without an error to another one: its output changes although the pruned channel was zero. The channel's group names one that
# the convolution does not have (0 and 8 of 8), and one half becomes smaller than the other, so that `chunk` cuts elsewhere. In the
# order in which they were cut nothing changes; halves that meet in a product are pruned in pairs.
# Seen: other order [0, 8] of 8, the output changes by 0.59; same order [0, 8], product [0, 4]: by less than 1e-6.
# Run: bash torch_pruning_swapped_halves.sh; it installs torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 torch-pruning==1.6.1 numpy==2.4.6
cat >"$folder/seen.py" <<'PY'
import torch
import torch_pruning
from torch import nn


class Halves(nn.Module):
    """A convolution to two halves, put together, and a convolution of that."""

    def __init__(self, join, channels):
        super().__init__()
        self.join = join
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, images):
        return self.second(self.join(*self.first(images).chunk(2, 1)))


def pruned(join, channels):
    torch.manual_seed(0)
    net, images = Halves(join, channels).eval(), torch.randn(1, 3, 4, 4)
    graph = torch_pruning.DependencyGraph().build_dependency(net, images)
    group = graph.get_pruning_group(net.first, torch_pruning.prune_conv_out_channels, idxs=[0])
    [places] = [list(places) for dependency, places in group if dependency.target.module is net.first]
    for place in places:
        if place < 8:
            net.first.weight.data[place] = 0
            net.first.bias.data[place] = 0
    before = net(images)
    group.prune()
    change = (net(images) - before).abs().max().item()
    print(f"pruned channels {places} of 8, which are zero: the output changes by {change:.2g}")
    return places, change


seen = [
    pruned(lambda first, last: torch.cat([last, first], 1), 8),
    pruned(lambda first, last: torch.cat([first, last], 1), 8),
    pruned(lambda first, last: first * last, 4),
]
is_known = [places for places, _ in seen] == [[0, 8], [0, 8], [0, 4]]
raise SystemExit(not (is_known and seen[0][1] > 0.1 and max(seen[1][1], seen[2][1]) < 1e-6))
PY
"$folder/venv/bin/python" "$folder/seen.py"
