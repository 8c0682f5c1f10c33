"""HOTA, MOTA and IDF1 of Ultralytics' trackers and of ours on the simulated sequences, by TrackEval.

pip install ultralytics==8.4.190 opencv-python-headless numpy lap==0.5.13 trackeval==1.3.0
cargo build --release -p ghostzoo-track --example mot
usage: track_metrics.py MOT [--seeds 1]   MOT: the example that cargo built

Prints a table, of all sequences together. With more seeds the sequences of track.py are made anew with others, too. Both get the
same detections, the truth is the simulation's, with the objects that are hidden; the camera's motion is not estimated.
"""
import argparse
import contextlib
import io
import pathlib
import subprocess
import tempfile

import numpy as np
from trackeval.metrics import CLEAR, HOTA, Identity

import track

SETTINGS = {"bytetrack": {}, "botsort": {"gmc_method": "none"}, "ocsort": {}, "tracktrack": {"gmc_method": "none"}}


def theirs(name, detections):
    """Of each frame rows of xyxy, identity."""
    return [rows[:, :5] for rows in track.run(name, SETTINGS[name], detections)]


def ours(program, name, detections):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "detections.txt"
        lines = []
        for frame, rows in enumerate(detections, 1):
            for x1, y1, x2, y2, score, _ in rows:
                lines.append(f"{frame},-1,{x1},{y1},{x2 - x1},{y2 - y1},{score}")
        file.write_text("\n".join(lines) + "\n")
        settings = [f"{key}={value}" for key, value in SETTINGS[name].items()]
        text = subprocess.run([program, name, file, *settings], check=True, capture_output=True, text=True).stdout
    frames = [[] for _ in detections]
    for line in text.splitlines():
        frame, identity, left, top, width, height = map(float, line.split(",")[:6])
        frames[int(frame) - 1].append([left, top, left + width, top + height, identity])
    return [np.array(rows).reshape(-1, 5) for rows in frames]


def overlaps(a, b):
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    area = lambda boxes: (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
    return intersection / (area(a)[:, None] + area(b) - intersection)


def counted(frames):
    """Identities of each frame from 0 on, without gaps, and how many there are."""
    known = {identity: place for place, identity in enumerate(sorted({int(i) for rows in frames for i in rows}))}
    return [np.array([known[int(i)] for i in rows], int) for rows in frames], len(known)


def scores(truth, tracks):
    """What TrackEval counts in one sequence. Classes play no part."""
    truth_ids, truth_count = counted([rows[:, 5] for rows in truth])
    track_ids, track_count = counted([rows[:, 4] for rows in tracks])
    data = {
        "num_timesteps": len(truth), "gt_ids": truth_ids, "tracker_ids": track_ids,
        "num_gt_ids": truth_count, "num_tracker_ids": track_count,
        "num_gt_dets": sum(map(len, truth)), "num_tracker_dets": sum(map(len, tracks)),
        "similarity_scores": [overlaps(a, b) for a, b in zip(truth, tracks)],
    }
    return [metric.eval_sequence(dict(data)) for metric in METRICS]


def simulations(seeds):
    """Detections and truth of the sequences."""
    first = track.SEQUENCES
    for more in range(seeds):
        track.SEQUENCES = [(name, seed + 100 * more, *rest) for name, seed, *rest in first]
        yield from ((f"{name} {seed}", *track.simulate(name)) for name, seed, *_ in track.SEQUENCES)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mot")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    simulated = list(simulations(arguments.seeds))
    print(f"{len(simulated)} sequences, {sum(len(truth) for _, _, truth in simulated)} frames")
    print("| tracker | by | HOTA | MOTA | IDF1 | identity switches | identities |\n|---|---|---:|---:|---:|---:|---:|")
    for name in SETTINGS:
        for by, follow in (("Ultralytics", theirs), ("GhostZoo", lambda *given: ours(arguments.mot, *given))):
            results, identities = {}, 0
            for sequence, detections, truth in simulated:
                tracks = follow(name, detections)
                identities += counted([rows[:, 4] for rows in tracks])[1]
                results[sequence] = scores(truth, tracks)
            hota, clear, identity = (
                metric.combine_sequences({key: result[place] for key, result in results.items()})
                for place, metric in enumerate(METRICS)
            )
            percent = [100 * np.mean(hota["HOTA"]), 100 * clear["MOTA"], 100 * identity["IDF1"]]
            row = [f"{value:.2f}" for value in percent] + [int(clear["IDSW"]), identities]
            print("|", " | ".join(map(str, [name, by, *row])), "|", flush=True)


# TrackEval prints the settings of its metrics.
with contextlib.redirect_stdout(io.StringIO()):
    METRICS = [HOTA(), CLEAR(), Identity()]

if __name__ == "__main__":
    main()
