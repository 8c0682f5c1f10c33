"""Golden values of the trackers: simulated detections, and the identities that Ultralytics' trackers give them.

pip install ultralytics==8.4.190 opencv-python-headless numpy lap==0.5.13
usage: track.py   writes tests/golden/track/{sequences,bytetrack,botsort,camera,ocsort,tracktrack,tracktrack_suppressed}.json

The detections go to the tracker objects themselves, without a video. Coordinates are multiples of 1/16 pixel and scores of 1/256,
so that f32 and text hold them exactly.
"""
import json
import pathlib

import numpy as np
import yaml
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "track"
WIDTH, HEIGHT = 1280, 720
# Name, seed, frames, objects, and what happens: pillars hide what is behind them, the camera moves.
SEQUENCES = [
    ("crossings", 21, 220, 9, {"pillars": [], "camera": False}),
    ("occlusions", 22, 220, 7, {"pillars": [(420, 560), (900, 960)], "camera": False}),
    ("camera", 23, 200, 7, {"pillars": [(600, 660)], "camera": True}),
]
# Settings beside the defaults, as a user writes them.
TRACKERS = {
    "bytetrack": [
        {},
        {
            "track_high_thresh": "0.5", "track_low_thresh": "0.25", "new_track_thresh": "0.625", "track_buffer": "8",
            "match_thresh": "0.9", "fuse_score": "False",
        },
    ],
    "botsort": [
        {"gmc_method": "none"},
        {
            "gmc_method": "none", "track_high_thresh": "0.5", "new_track_thresh": "0.5", "track_buffer": "60",
            "match_thresh": "0.7", "fuse_score": "False",
        },
    ],
    "ocsort": [
        {},
        {
            "track_high_thresh": "0.5", "track_low_thresh": "0.2", "new_track_thresh": "0.625", "track_buffer": "12",
            "match_thresh": "0.7", "fuse_score": "False", "delta_t": "5", "inertia": "0.5", "use_byte": "True",
        },
    ],
    "tracktrack": [
        {"gmc_method": "none"},
        {
            "gmc_method": "none", "track_high_thresh": "0.5", "track_low_thresh": "0.1", "new_track_thresh": "0.5",
            "track_buffer": "60", "match_thresh": "0.8", "lost_match_thr": "0.95", "conf_weight": "0.2",
            "angle_weight": "0.2", "penalty_p": "0.1", "reduce_step": "0.1", "tai_thr": "0.4", "min_track_len": "1",
        },
    ],
}
# Those that see the camera move.
CAMERA_TRACKERS = ["botsort", "tracktrack"]
# Frames of the sequence that has pixels.
SHAKEN = 40
# Of every so many frames the boxes are kept, too.
BOXES_EVERY = 10


def camera_path(rng, frames, moves):
    """Offset and scale of each frame: pans with jitter, and a slow zoom."""
    if not moves:
        return np.zeros((frames, 2)), np.ones(frames)
    time = np.arange(frames)
    pan = np.stack([140 * np.sin(time / 25), 30 * np.sin(time / 13)], axis=1)
    return pan + rng.normal(0, 1.5, (frames, 2)), 1 + 0.15 * np.sin(time / 40)


def simulate(name):
    """Detections and truth of a sequence: of each frame arrays (n, 6) of xyxy, score, class, and (m, 6) of xyxy, class, identity.

    Objects walk at their own speed, turn at the borders, and those with a lower edge further down hide others. What is hidden is
    seen with a lower score or not at all. Some boxes come twice, some are nothing, and twice the detector fails for some frames.
    """
    seed, frames, count, events = next(row[1:] for row in SEQUENCES if row[0] == name)
    rng = np.random.default_rng(seed)
    position = np.stack([rng.uniform(100, WIDTH - 100, count), rng.uniform(250, HEIGHT - 80, count)], axis=1)
    velocity = np.stack([rng.choice([-1, 1], count) * rng.uniform(2, 9, count), rng.normal(0, 0.7, count)], axis=1)
    size = np.stack([rng.uniform(35, 90, count), rng.uniform(90, 230, count)], axis=1)
    kind = rng.integers(0, 3, count)
    enters = np.where(rng.random(count) < 0.4, rng.integers(1, frames // 2, count), 0)
    leaves = np.where(rng.random(count) < 0.3, rng.integers(frames // 2, frames, count), frames)
    offsets, scales = camera_path(rng, frames, events["camera"])
    fails = set(range(frames // 3, frames // 3 + 4)) | set(range(2 * frames // 3, 2 * frames // 3 + 2))
    detections, truth = [], []
    for frame in range(frames):
        position += velocity
        velocity[:, 0] = np.where((position[:, 0] < 30) | (position[:, 0] > WIDTH - 30), -velocity[:, 0], velocity[:, 0])
        velocity[:, 1] = np.where((position[:, 1] < 240) | (position[:, 1] > HEIGHT - 60), -velocity[:, 1], velocity[:, 1])
        velocity += rng.normal(0, 0.25, velocity.shape)
        boxes = np.concatenate([position - size / 2, position + size / 2], axis=1)
        there = [i for i in range(count) if enters[i] <= frame < leaves[i]]
        found, real = [], []
        for i in there:
            seen = boxes[i] * scales[frame] + np.tile(offsets[frame], 2)
            real.append([*seen, kind[i], i + 1])
            hidden = max([cover(boxes[i], boxes[j]) for j in there if boxes[j, 3] > boxes[i, 3]], default=0.0)
            hidden = max([hidden, *(cover(boxes[i], [left, 0, right, HEIGHT]) for left, right in events["pillars"])])
            score = np.clip(rng.normal(0.86, 0.07) - 0.75 * hidden, 0.02, 0.99)
            # Some scores are at a threshold exactly.
            score = rng.choice([0.25, 0.5, 0.625]) if rng.random() < 0.04 else score
            if frame in fails or hidden > 0.9 or rng.random() < 0.03 + 0.3 * hidden:
                continue
            noise = rng.normal(0, 0.02, 4) * np.tile(size[i], 2)
            label = rng.integers(0, 3) if rng.random() < 0.03 else kind[i]
            found.append([*(seen + noise), score, label])
            if rng.random() < 0.04:
                again = seen + noise + rng.normal(0, 0.012, 4) * np.tile(size[i], 2)
                found.append([*again, np.clip(score - rng.uniform(0, 0.3), 0.02, 0.99), label])
        if rng.random() < 0.3 and frame not in fails:
            x, y, w, h = rng.uniform([0, 200, 20, 20], [WIDTH - 100, HEIGHT - 150, 90, 150])
            found.append([x, y, x + w, y + h, rng.uniform(0.05, 0.7), rng.integers(0, 3)])
        rows = np.array(found).reshape(-1, 6)
        rows = rows[rng.permutation(len(rows))]
        rows[:, :4] = np.round(rows[:, :4] * 16) / 16
        rows[:, 4] = np.round(rows[:, 4] * 256) / 256
        detections.append(rows)
        truth.append(np.array(real).reshape(-1, 6))
    return detections, truth


def shaken():
    """Frames of a camera that jumps, without noise: of each frame its offset, its pixels and detections of objects that stand.

    The world is squares of pseudo-random grey; a frame is a window of it.
    """
    rng = np.random.default_rng(24)
    offsets = np.cumsum(rng.integers(-24, 25, (SHAKEN, 2)) * (rng.random((SHAKEN, 1)) < 0.6), axis=0) + 1000
    corners = np.array([[1040, 1060], [1130, 1040], [1220, 1090], [1100, 1150]])
    sizes = np.array([[22, 40], [26, 44], [20, 38], [24, 50]])
    frames = []
    for x, y in offsets:
        column, row = np.meshgrid(np.arange(x, x + 320) // 7, np.arange(y, y + 240) // 7)
        pixels = ((column * 7919 + row * 104729) * (column + 3 * row + 17) >> 5) % 256
        boxes = np.concatenate([corners, corners + sizes], axis=1) - [x, y, x, y]
        seen = rng.random(len(boxes)) < 0.9
        rows = np.concatenate([boxes, rng.integers(150, 250, (len(boxes), 1)) / 256, np.zeros((len(boxes), 1))], axis=1)
        frames.append(((int(x), int(y)), pixels.astype(np.uint8), rows[seen]))
    return frames


def cover(box, other):
    """Which part of a box another one covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def tracker(name, settings):
    """Ultralytics' tracker with its defaults but for some settings."""
    arguments = YAML.load(check_yaml(f"{name}.yaml"))
    for key, text in settings.items():
        assert key in arguments, key
        arguments[key] = yaml.safe_load(text)
    return TRACKER_MAP[name](args=IterableSimpleNamespace(**arguments))


def run(name, settings, detections, images=None):
    """Of each frame the rows [x1, y1, x2, y2, identity, score, class, place of the detection]."""
    peer = tracker(name, settings)
    frames = []
    for number, rows in enumerate(detections):
        image = None if images is None else np.repeat(images[number][:, :, None], 3, axis=2)
        rows = peer.update(Boxes(rows.astype(np.float32), (HEIGHT, WIDTH)), image)
        frames.append(np.asarray(rows, np.float32).reshape(-1, 8))
    return frames


def overlaps(boxes):
    """Intersection over union of all pairs."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], boxes[None, :, 2:4])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
    return intersection / (areas[:, None] + areas - intersection)


def suppressed(rows):
    """Places that non-maximum suppression removes at an IoU of 0.3, and of these the ones that are near to none that it keeps."""
    iou = overlaps(rows)
    kept = []
    for place in np.argsort(-rows[:, 4], kind="stable"):
        if all(iou[place, other] <= 0.3 for other in kept):
            kept.append(place)
    removed = [place for place in range(len(rows)) if place not in kept]
    return removed, [place for place in removed if max(iou[place, other] for other in kept) < 0.97]


def run_suppressed(settings, detections):
    """As `run`, of TrackTrack, with what was suppressed beside the detections. There the place of the detection is -1."""
    peer = tracker("tracktrack", settings)
    frames, lists = [], []
    for rows in detections:
        removed, near = suppressed(rows)
        kept, extra = np.delete(rows, removed, axis=0).astype(np.float32), rows[near].astype(np.float32)
        middle, size = (extra[:, :2] + extra[:, 2:4]) / 2, extra[:, 2:4] - extra[:, :2]
        extra = (np.concatenate([middle, size], axis=1), extra[:, 4], extra[:, 5])
        rows = peer.update(Boxes(kept, (HEIGHT, WIDTH)), dets_del=extra if near else None)
        frames.append(np.asarray(rows, np.float32).reshape(-1, 8))
        lists.append([[int(i) for i in removed], [int(i) for i in near]])
    return frames, lists


def write(name, parts):
    text = "[\n" + ",\n".join(json.dumps(part, separators=(",", ":")) for part in parts) + "\n]\n"
    (GOLDEN / f"{name}.json").write_text(text)


def write_suppressed(sequences):
    runs = []
    for settings in ({"gmc_method": "none"}, {"gmc_method": "none", "penalty_q": "0.1", "match_thresh": "0.9"}):
        for sequence in ("crossings", "occlusions"):
            frames, lists = run_suppressed(settings, sequences[sequence])
            taken = sum(int((rows[:, 7] < 0).sum()) for rows in frames)
            print("tracktrack", settings, sequence, taken, "that were suppressed are taken")
            # Of each frame: the places that are removed, and those of them that are given as suppressed.
            tracks = [rows[:, [4, 7]].astype(int).flatten().tolist() for rows in frames]
            runs.append({"sequence": sequence, "settings": settings, "suppressed": lists, "tracks": tracks})
    write("tracktrack_suppressed", runs)


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    sequences = {name: simulate(name)[0] for name, *_ in SEQUENCES}
    # Of a detection: 16 times left, top, right, bottom; 256 times the score; the class.
    scale = np.array([16, 16, 16, 16, 256, 1])
    write("sequences", [
        {"name": name, "frames": [(rows * scale).astype(int).tolist() for rows in frames]} for name, frames in sequences.items()
    ])
    for name, choices in TRACKERS.items():
        runs = []
        for settings in choices:
            for sequence, detections in sequences.items():
                frames = run(name, settings, detections)
                runs.append({
                    "sequence": sequence,
                    "settings": settings,
                    # Of each track: its identity and the place of its detection.
                    "tracks": [rows[:, [4, 7]].astype(int).flatten().tolist() for rows in frames],
                    "boxes": [np.round(rows[:, :4].astype(float), 3).tolist() for rows in frames[::BOXES_EVERY]],
                })
                identities = len({int(i) for rows in frames for i in rows[:, 4]})
                print(name, settings, sequence, f"{identities} identities, {sum(map(len, frames))} boxes")
        write(name, runs)
    write_suppressed(sequences)
    offsets, images, detections = zip(*shaken())
    runs = []
    for name in CAMERA_TRACKERS:
        still = run(name, {"gmc_method": "none"}, detections)
        frames = run(name, {}, detections, images)
        identities = [len({int(i) for rows in some for i in rows[:, 4]}) for some in (frames, still)]
        print(name, "with frames and without:", identities, "identities")
        assert identities[0] < identities[1]
        runs.append({
            "name": name,
            "frames": [{"offset": place, "detections": (rows * scale).astype(int).tolist()} for place, rows in zip(offsets, detections)],
            "tracks": [rows[:, [4, 7]].astype(int).flatten().tolist() for rows in frames],
            "boxes": [np.round(rows[:, :4].astype(float), 3).tolist() for rows in frames],
        })
    write("camera", runs)


if __name__ == "__main__":
    main()
