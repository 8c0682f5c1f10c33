"""Frames per second of `ghostzoo detect` on a video beside Ultralytics' `predict`, decoding, drawing and writing included.

pip install torch==2.15.0 ultralytics==8.4.190 opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
            safetensors==0.8.0; ffmpeg
usage: video_speed.py GHOSTZOO [--frames 600] [--threads 2] [--rounds 3] [--imgsz 640]

The film is H.264, 640x480, 30 frames/s: nine pictures of noise and boxes, over which the view moves. The detector is the one that
ships, in f32 everywhere. All in turns: Ultralytics with ONNX Runtime and with OpenVINO, in processes of their own whose model is loaded before
the clock starts, ours as a command from its start to its end; then `ghostzoo bench` for the time of the network alone.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MODEL = "yolov8n-ghostnet-bccd"


def film(path, frames):
    """A view that moves over a large drawn picture."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (1200, 1600, 3), np.uint8), (31, 31), 9)
    for _ in range(200):
        x, y, radius = (int(value) for value in rng.integers((0, 0, 10), (1600, 1200, 40)))
        cv2.circle(picture, (x, y), radius, [int(level) for level in rng.integers(0, 256, 3)], -1)
    encoder = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "640x480", "-r", "30", "-i", "-",
         "-c:v", "libx264", "-pix_fmt", "yuv420p", "-y", str(path)], stdin=subprocess.PIPE)
    for frame in range(frames):
        x, y = int(480 + 470 * np.sin(frame / 50)), int(360 + 350 * np.cos(frame / 70))
        encoder.stdin.write(np.ascontiguousarray(picture[y : y + 480, x : x + 640]).tobytes())
    encoder.stdin.close()
    assert encoder.wait() == 0


def peer(form, folder, imgsz, threads):
    """Answers each line on stdin with the seconds that `predict` takes on the film."""
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(threads)
    model = YOLO(str(folder / ("shipped.onnx" if form == "onnx" else "shipped_openvino_model")), task="detect")
    predict = lambda source: [None for _ in model.predict(source, stream=True, save=True, imgsz=imgsz, verbose=False, conf=0.25,
                                                          project=str(folder / form), exist_ok=True)]
    predict(str(folder / "short.mp4"))
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        predict(str(folder / "film.mp4"))
        print(time.perf_counter() - start, file=answers, flush=True)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("ghostzoo", nargs="?")
    args.add_argument("--frames", type=int, default=600)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--imgsz", type=int, default=640)
    args.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.peer:
        return peer(args.peer[0], pathlib.Path(args.peer[1]), args.imgsz, args.threads)
    folder = pathlib.Path(tempfile.mkdtemp())
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false",
                      OMP_NUM_THREADS=str(args.threads))
    film(folder / "film.mp4", args.frames)
    film(folder / "short.mp4", 5)
    from tiles import shipped
    from ultralytics import YOLO

    checkpoint = shipped(folder)
    for form in ("onnx", "openvino"):
        YOLO(str(checkpoint)).export(format=form, imgsz=args.imgsz, verbose=False)
    words = [sys.executable, __file__, "--threads", str(args.threads), "--imgsz", str(args.imgsz), "--peer"]
    peers = {form: subprocess.Popen([*words, form, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
             for form in ("onnx", "openvino")}
    for form, process in peers.items():
        assert process.stdout.readline() == "ready\n", form
    shared = ["--threads", str(args.threads), "--model", MODEL]
    detect = [args.ghostzoo, "detect", folder / "film.mp4", *shared, "--imgsz", str(args.imgsz), "--quiet",
              "--save-dir", folder / "ours", "--exist-ok", "--device", "cpu"]
    bench = [args.ghostzoo, "bench", *shared, "--imgsz", f"{args.imgsz * 3 // 4},{args.imgsz}", "--json", "--device", "cpu"]
    times = {name: [] for name in ("onnx", "openvino", "ghostzoo")}
    network = []
    for _ in range(args.rounds):
        for form, process in peers.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            times[form].append(float(process.stdout.readline()))
        start = time.perf_counter()
        subprocess.run(detect, check=True, stdout=subprocess.DEVNULL)
        times["ghostzoo"].append(time.perf_counter() - start)
        out = subprocess.run(bench, check=True, capture_output=True, text=True).stdout
        network.append(json.loads(out.splitlines()[-1]))
    rate = {name: args.frames / statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        print(f"{name:9} {rate[name]:6.2f} frames/s   {' '.join(f'{args.frames / second:.2f}' for second in seconds)}")
    print("bench", [{key: row.get(key) for key in ("median_ms", "mean_ms", "ms", "images_per_s")} for row in network])
    print(f"ours / best of Ultralytics: {rate['ghostzoo'] / max(rate['onnx'], rate['openvino']):.2f}")
    for process in peers.values():
        process.stdin.close()
        process.wait()
    shutil.rmtree(folder)


main()
