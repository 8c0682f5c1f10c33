"""Fixtures and expected values of candle-vision's image sets, and its lists of ImageNet's classes.

pip install torchvision==0.29.2 timm==1.0.31 pyarrow==26.0.1 scipy==1.17.1 pillow==13.0.0 numpy

    python tests/oracle/data.py assets      rewrites the lists in candle-vision/assets, from timm (Apache-2.0)
    python tests/oracle/data.py fixtures    rewrites tests/golden/data
"""

import argparse, io, json, shutil, tarfile, tempfile
from importlib.resources import files
from pathlib import Path

from common import digest

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "candle-vision/assets"
DATA = ROOT / "tests/golden/data"
WNIDS = ["n01440764", "n02119789", "n15075141", "n02012849"]


def assets():
    info = files("timm") / "data" / "_info"
    for name in ["imagenet_synsets.txt", "imagenet_a_indices.txt", "imagenet_r_indices.txt"]:
        (ASSETS / name).write_text("\n".join((info / name).read_text().split()) + "\n")


def picture(seed, format="PNG"):
    import numpy as np
    from PIL import Image
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)).save(out, format)
    return out.getvalue()


def rows_of(path):
    """What pyarrow reads: name, label and digest of each row."""
    import pyarrow.parquet as pq
    rows = []
    for row in pq.read_table(path).to_pylist():
        image = row.get("image", row.get("jpg"))
        data, name = (image["bytes"], image["path"]) if isinstance(image, dict) else (image, None)
        label = row.get("label", row.get("cls"))
        rows.append([name, label, None if data is None else digest(data)])
    return rows


def tables():
    import pyarrow as pa, pyarrow.parquet as pq
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def hub(name, labels, pictures, names=None, **kwargs):
        paths = [None if i == 1 else f"ILSVRC2012_val_{i + 1:08}.JPEG" for i in range(len(pictures))]
        values = [None if data is None else {"bytes": data, "path": path} for data, path in zip(pictures, paths)]
        fields = [("image", image), ("label", pa.int64())]
        schema = pa.schema(fields)
        if names:
            feature = {"names": names, "_type": "ClassLabel"}
            info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
            schema = schema.with_metadata({"huggingface": json.dumps(info)})
        table = pa.Table.from_arrays([pa.array(values, image), pa.array(labels, pa.int64())], schema=schema)
        pq.write_table(table, DATA / name, **{"row_group_size": 4, "compression": "snappy", **kwargs})

    jpegs = [picture(seed, "JPEG") for seed in range(3)] + [picture(seed) for seed in range(3, 10)]
    few = jpegs[3:6]
    hub("hub.parquet", [i * 7 % 10 for i in range(10)], jpegs)
    hub("named.parquet", [2, 0, 1], few, WNIDS[:3])
    hub("nulls.parquet", [0, 1, 2], [few[0], None, few[2]])
    hub("null-label.parquet", [0, None, 2], few)
    hub("test-split.parquet", [-1, -1, -1], few)
    hub("gzip.parquet", [0, 1, 2], few, compression="gzip")
    plain = pa.table({"jpg": pa.array(jpegs[3:], pa.binary()), "cls": pa.array([0, 1, 2, 3, 4, 5, 6], pa.int32())})
    pq.write_table(plain, DATA / "pages.parquet", compression="none", data_page_version="2.0", data_page_size=100,
                   write_batch_size=2, use_dictionary=False)
    pq.write_table(plain.select(["cls"]), DATA / "no-image.parquet")
    pq.write_table(plain.select(["jpg"]), DATA / "no-label.parquet")
    whole = (DATA / "hub.parquet").read_bytes()
    (DATA / "truncated.parquet").write_bytes(whole[: len(whole) * 2 // 3])
    return {name: rows_of(DATA / name) for name in ["hub.parquet", "named.parquet", "nulls.parquet", "pages.parquet"]}


def tars():
    """As Python's tarfile reads them: names and digests of the files."""
    members = [("./val/n01440764/a.JPEG", picture(20)), ("val/n02119789/" + "long" * 40 + ".png", picture(21)),
               ("val/n02119789/ä.png", picture(22)), ("val/readme.md", b"text"), ("val/._a.jpg", b"junk")]
    listed = {}
    for name, format in [("gnu.tar", tarfile.GNU_FORMAT), ("pax.tar", tarfile.PAX_FORMAT)]:
        with tarfile.open(DATA / name, "w", format=format) as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with tarfile.open(DATA / name) as tar:
            listed[name] = [[member.name, digest(tar.extractfile(member).read())] for member in tar]
    return listed


def mats():
    import numpy as np, scipy.io
    rows = [(1, "n02119789", "kit fox"), (2, "n02100735", "English setter"), (3, "n01440764", "tench"),
            (300, "n15075141", "tissue"), (1001, "n02120997", "feline")]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([(np.float64(n), w, t, np.float64(n > 1000)) for n, w, t in rows], dtype=kinds).reshape(-1, 1)
    content = {"other": np.eye(2), "synsets": synsets}
    for name, compressed in [("meta.mat", True), ("meta-plain.mat", False)]:
        scipy.io.savemat(DATA / name, content, do_compression=compressed)
        written = (DATA / name).read_bytes()
        (DATA / name).write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + written[116:])  # without date and platform
    back = scipy.io.loadmat(DATA / "meta.mat", squeeze_me=True)["synsets"]
    return [[int(row[0]), str(row[1])] for row in back]


def folders():
    """torchvision's order of a tree that is hard to sort."""
    from torchvision.datasets import ImageFolder
    names = ["b/2.jpg", "b/10.JPEG", "b/deep/a.png", "b/deep-er/a.png", "b/deep/er/a.png", "b/a.webp", "B/x.bmp",
             "B/X.bmp", "a b/1.jpg", "é/1.jpg", "z10/1.jpg", "z9/1.jpg", "b/note.txt"]
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / name).write_bytes(b"")
        found = ImageFolder(root)
        samples = [[str(Path(path).relative_to(root)), label] for path, label in found.samples]
    return {"files": names, "classes": found.classes, "samples": samples}


def natural():
    from timm.utils.misc import natural_key
    names = ["b10", "b9", "B1", "a", "10", "9", "a1b20", "a1b3", "", "é", "class_02", "class_1"]
    return {"names": names, "sorted": sorted(names, key=natural_key)}


def fixtures():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    expected = {"tables": tables(), "tars": tars(), "synsets": mats(), "folder": folders(), "natural": natural()}
    (DATA / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["assets", "fixtures"])
    {"assets": assets, "fixtures": fixtures}[parser.parse_args().what]()
