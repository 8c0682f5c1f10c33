"""Images per second of Ray Data with the Python package, beside two plain processes and Ultralytics in Ray; what a killed worker costs.

pip install 'ray[data]'==2.60.0 ultralytics==8.4.190 torch==2.15.0 onnx==1.23.2 onnxruntime==1.32.0 pyarrow==26.0.1 safetensors==0.8.0 ./python
usage: ray_scale.py GHOSTZOO FOLDER... [--images 10000] [--workers 2] [--block 500] [--rounds 1] [--no-peer]

The images are links to those below the folders. In turns: `python/examples/ray_detect.py` with workers of one thread each, as many
commands `ghostzoo detect --shard` of one thread, Ultralytics' `predict` in Ray with ONNX Runtime, a worker to a core, its model exported
for all sizes. Rates of Ray are those between the first and the last block, without its start. Then a run in which a worker is killed,
whose boxes must be those of the command, each image once.
"""
import argparse
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "python/examples/ray_detect.py"
# That of the model.
SIDE = 480
COLUMNS = ["path", "width", "height", "class_id", "class", "confidence", "x1", "y1", "x2", "y2"]


def links(folder, sources, count):
    found = sorted(path for source in sources for path in pathlib.Path(source).resolve().rglob("*") if path.suffix in (".jpg", ".jpeg"))
    folder.mkdir()
    for number, path in zip(range(count), itertools.cycle(found)):
        (folder / f"{number:06}.jpg").symlink_to(path)


def memory(process, most, done):
    """The most memory that a process and those below it had at a time, in bytes: their proportional shares."""
    while not done.wait(1):
        pids, total = [process.pid], 0
        for pid in pids:
            try:
                pids += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
            except (OSError, IndexError):
                continue
        most[0] = max(most[0], total)


def blocks(words, kill=False, killed=None):
    """Runs a script that prints `block N of M: K images`: images per second between the first and the last, and the peak of memory."""
    env = {**os.environ, "RAY_DEDUP_LOGS": "0", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    most, done = [0], threading.Event()
    watch = threading.Thread(target=memory, args=(process, most, done))
    watch.start()
    seen = []
    for line in process.stdout:
        if not line.startswith("block "):
            continue
        seen.append((time.perf_counter(), int(line.split(": ")[1].split()[0])))
        if kill and len(seen) == 2:
            found = subprocess.run(["pgrep", "-f", "^ray::MapWorker"], capture_output=True, text=True, check=True).stdout.split()
            os.kill(int(found[0]), signal.SIGKILL)
            killed.append(int(found[0]))
    done.set()
    watch.join()
    assert process.wait() == 0, words
    (start, first), (end, last) = seen[0], seen[-1]
    return (last - first) / (end - start), most[0]


def plain(program, folder, out, workers, images):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    words = [program, "detect", folder, "--model", "yolov8n-ghostnet-bccd", "--no-save", "--quiet", "--threads", "1", "--device", "cpu"]
    start = time.perf_counter()
    each = [subprocess.Popen([*map(str, words), "--shard", f"{rank}/{workers}", "--part", f"{out}/{rank}.jsonl"]) for rank in range(workers)]
    assert all(process.wait() == 0 for process in each)
    return images / (time.perf_counter() - start)


class Peer:
    """Ultralytics' predictor of a worker that has one core."""

    def __init__(self, model, folder):
        os.environ.update(YOLO_CONFIG_DIR=folder, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
        with open(f"{folder}/cores", "ab") as file:
            file.write(b".")
            place = file.tell() - 1
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[place % len(cores)]})
        import torch
        from ultralytics import YOLO

        torch.set_num_threads(1)
        self.model = YOLO(model, task="detect")

    def __call__(self, batch):
        counts = []
        for files in batch["files"]:
            found = self.model.predict(list(files), stream=True, batch=1, imgsz=SIDE, conf=0.25, verbose=False)
            counts.append(sum(1 for result in found if result.boxes is not None))
        return {"images": counts}


def peer(folder, images, model, workers, block):
    import ray

    files = sorted(str(path) for path in pathlib.Path(images).rglob("*.jpg"))
    groups = [{"files": files[start : start + block]} for start in range(0, len(files), block)]
    ray.init(num_cpus=workers, log_to_driver=False)
    counted = ray.data.from_items(groups, override_num_blocks=len(groups)).map_batches(
        Peer, fn_constructor_args=[model, folder], batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1)
    total = 0
    for number, row in enumerate(counted.iter_rows(), 1):
        total += row["images"]
        print(f"block {number} of {len(groups)}: {total} images", flush=True)


def rows(place):
    import pyarrow.parquet as pq

    table = pq.read_table(place, columns=COLUMNS).to_pylist()
    return sorted((tuple(str(row[name]) for name in COLUMNS) for row in table))


def main():
    args = argparse.ArgumentParser()
    args.add_argument("ghostzoo")
    args.add_argument("folders", nargs="*")
    args.add_argument("--images", type=int, default=10000)
    args.add_argument("--workers", type=int, default=2)
    args.add_argument("--block", type=int, default=500)
    args.add_argument("--rounds", type=int, default=1)
    args.add_argument("--no-peer", action="store_true")
    args.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.peer:
        return peer(str(pathlib.Path(args.peer[1]).parent), args.peer[0], args.peer[1], args.workers, args.block)
    folder = pathlib.Path(tempfile.mkdtemp())
    images = folder / "images"
    links(images, args.folders, args.images)
    ours = [sys.executable, EXAMPLE, images, folder / "boxes", "--workers", args.workers, "--block", args.block]
    words = [sys.executable, __file__, args.ghostzoo, "--workers", args.workers, "--block", args.block, "--peer", images]
    if not args.no_peer:
        os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
        from tiles import shipped
        from ultralytics import YOLO

        model = YOLO(str(shipped(folder))).export(format="onnx", imgsz=SIDE, dynamic=True, verbose=False)
    for _ in range(args.rounds):
        shutil.rmtree(folder / "boxes", ignore_errors=True)
        rate, most = blocks(ours)
        print(f"ghostzoo in Ray      {rate:7.2f} images/s, memory {most >> 20} MB with Ray's own processes", flush=True)
        apart = plain(args.ghostzoo, images, folder / "parts", args.workers, args.images)
        print(f"plain processes      {apart:7.2f} images/s; in Ray {rate / apart:.2f} of that", flush=True)
        if not args.no_peer:
            (folder / "cores").unlink(missing_ok=True)
            other, most = blocks([*words, model])
            print(f"Ultralytics in Ray   {other:7.2f} images/s, memory {most >> 20} MB; ours {rate / other:.2f} times", flush=True)
    shutil.rmtree(folder / "boxes")
    killed = []
    blocks(ours, kill=True, killed=killed)
    subprocess.run([args.ghostzoo, "detect", str(images), "--model", "yolov8n-ghostnet-bccd", "--no-save", "--quiet", "--device", "cpu",
                    "--parquet", str(folder / "whole.parquet")], check=True, stdout=subprocess.DEVNULL)
    expected, found = rows(folder / "whole.parquet"), rows(folder / "boxes")
    looked = len({row[0] for row in found})
    print(f"worker {killed} killed: {looked} of {args.images} images, {len(found)} rows, equal to the command's: {found == expected}")
    shutil.rmtree(folder)
    raise SystemExit(found != expected or looked != args.images)


if __name__ == "__main__":
    main()
