#!/bin/bash
# Pillow 13.0.0 (libjpeg-turbo inside): a valid JPEG whose levels reach far beyond 0..255, as strong quantization of noise
# gives, has two decodings. The vector code of libjpeg-turbo saturates such a level, its portable C wraps it around:
# JSIMD_FORCENONE=1, the library's own switch, changes pixels by up to 255 levels, with the default arithmetic (islow), which is
# the same to the bit otherwise. So may a processor or a build without its vector code. OpenCV 5.0.0.93 gives the saturated
# pixels, and its copy of the library does not know the switch.
# So a hash of pixels, or a test that compares them, may hold on one machine and fail on another.
# Run: bash jpeg_depends_on_simd.sh, on a processor with AVX2 or SSE2. Exits 1 if any of this changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv
venv/bin/pip -q install --disable-pip-version-check opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cat > try.py <<'P'
import io, sys, cv2, numpy as np, PIL
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
file = io.BytesIO()
Image.fromarray(noise).save(file, "JPEG", quality=75, subsampling=0)
plain = file.getvalue()
loud = bytearray(plain)
at = loud.find(b"\xff\xdb")
while at >= 0:  # steps of the quantization tables eight times as large
    end = at + 2 + int.from_bytes(loud[at + 2 : at + 4], "big")
    loud[at + 5 : end] = bytes(min(255, step * 8) for step in loud[at + 5 : end])
    at = loud.find(b"\xff\xdb", end)
for name, data in (("plain", plain), ("loud", bytes(loud))):
    np.save(f"pillow_{name}_{sys.argv[1]}", np.asarray(Image.open(io.BytesIO(data))))
    np.save(f"opencv_{name}_{sys.argv[1]}", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
P
venv/bin/python try.py vectors
JSIMD_FORCENONE=1 venv/bin/python try.py portable
venv/bin/python - <<'P' || { echo "the behaviour has changed"; exit 1; }
import numpy as np

seen = {}
for reader in ("pillow", "opencv"):
    for name in ("plain", "loud"):
        a, b = (np.load(f"{reader}_{name}_{how}.npy").astype(int) for how in ("vectors", "portable"))
        seen[reader, name] = int(abs(a - b).max())
        print(f"{reader}, {name} file: vector and portable code differ by up to {seen[reader, name]} levels, in {(a != b).mean():.0%} of the values")
both = np.load("pillow_loud_vectors.npy").astype(int) - np.load("opencv_loud_vectors.npy")
print("loud file, Pillow and OpenCV, neither with the switch: they differ by up to", abs(both).max(), "levels")
expected = {("pillow", "plain"): 0, ("pillow", "loud"): 255, ("opencv", "plain"): 0, ("opencv", "loud"): 0}
raise SystemExit(bool(seen != expected or both.any()))
P
# Seen, Pillow 13.0.0, OpenCV 5.0.0.93:
# pillow, loud file: vector and portable code differ by up to 255 levels, in 24% of the values
# opencv, loud file: vector and portable code differ by up to 0 levels, in 0% of the values
