"""Boxes of many images on a Ray cluster: a Parquet file per block of images, written whole or not at all.

    pip install ./python 'ray[data]'
    python python/examples/ray_detect.py images/ boxes/ --workers 8

The images are files below a folder, or the bytes in a column of the Parquet files below it (``--column``). Images and boxes lie on disks that
all machines see, or where pyarrow can look: s3://, gs://, hdfs://. Started again, it goes on with the blocks that are not there.
"""

import argparse
import hashlib
import os
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ghostzoo.ray import DetectBatch
from pyarrow import fs

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Encoded images in memory at a time, in each worker.
CHUNK = 64


def place(address):
    """File system and path of an address or a path."""
    return fs.FileSystem.from_uri(address if "://" in address else os.path.abspath(address))


class WriteBlock:
    """Writes the boxes of blocks; one in each worker."""

    def __init__(self, output, model, column, options):
        self.filesystem, self.folder = place(output)
        self.column = column
        self.options = {"model": model, **options}
        self.detect = None if column else DetectBatch(**self.options)

    def __call__(self, batch):
        counts = [self.write(name, list(files)) for name, files in zip(batch["name"], batch["files"])]
        images, failed = zip(*counts)
        return {"name": batch["name"], "images": list(images), "failed": list(failed)}

    def write(self, name, files):
        final, own = f"{self.folder}/{name}.parquet", f"{self.folder}/.{name}.{uuid.uuid4().hex}"
        images, failed, writer = 0, 0, None
        with self.filesystem.open_output_stream(own) as stream:
            for table in self.tables(files):
                images += table.num_rows
                boxes = self.detect(table)
                failed += boxes.num_rows - boxes["error"].null_count
                writer = writer or pq.ParquetWriter(stream, boxes.schema)
                writer.write_table(boxes)
            if writer is not None:
                writer.close()
        if writer is not None:
            self.filesystem.move(own, final)
        return images, failed

    def tables(self, files):
        if self.column is None:
            for start in range(0, len(files), CHUNK):
                yield pa.table({"path": files[start : start + CHUNK]})
            return
        for address in files:
            filesystem, path = place(address)
            with filesystem.open_input_file(path) as file:
                for batch in pq.ParquetFile(file).iter_batches(CHUNK):
                    if self.detect is None:
                        keep = [name for name in batch.schema.names if name != self.column]
                        self.detect = DetectBatch(images=self.column, keep=keep, **self.options)
                    yield pa.Table.from_batches([batch])


def listing(address, endings):
    """All files below a folder whose names end so, sorted, as addresses."""
    filesystem, folder = place(address)
    found = filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    scheme = f"{address.split('://')[0]}://" if "://" in address else ""
    paths = [info.path for info in found if info.is_file and info.path.lower().endswith(endings)]
    return [scheme + path for path in sorted(paths)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("output")
    parser.add_argument("--model", default="yolov8n-ghostnet-bccd")
    parser.add_argument("--column", help="column of the images' bytes in Parquet files; their other columns are kept")
    parser.add_argument("--block", type=int, help="files of a block: 1000 images, or 1 Parquet file, unless given")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--conf", type=float, default=0.25)
    args = parser.parse_args()

    files = listing(args.images, (".parquet",) if args.column else ENDINGS)
    size = args.block or (1 if args.column else 1000)
    groups = [files[start : start + size] for start in range(0, len(files), size)]
    # A block is told by its files, so that a run over others does not take it for its own.
    digest = lambda group: hashlib.sha256("\n".join(group).encode()).hexdigest()[:12]
    blocks = {f"boxes-{number:06}-{digest(group)}": group for number, group in enumerate(groups)}
    filesystem, folder = place(args.output)
    filesystem.create_dir(folder)
    there = {os.path.basename(info.path) for info in filesystem.get_file_info(fs.FileSelector(folder)) if info.is_file}
    done = {name.removesuffix(".parquet") for name in there if name.startswith("boxes-")}
    if done - blocks.keys():
        raise SystemExit(f"{args.output} holds boxes of other images or of blocks of another size: give another folder")
    left = [{"name": name, "files": group} for name, group in blocks.items() if name not in done]
    print(f"{len(files)} files, {len(blocks)} blocks, {len(done)} of them done before", flush=True)
    if not left:
        return

    options = {"threads": args.threads, "conf": args.conf}
    written = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
        WriteBlock,
        fn_constructor_args=[args.output, args.model, args.column, options],
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=args.workers),
        num_cpus=args.threads,
    )
    images = failed = 0
    for number, row in enumerate(written.iter_rows(), len(done) + 1):
        images, failed = images + row["images"], failed + row["failed"]
        print(f"block {number} of {len(blocks)}: {images} images, {failed} of them could not be read", flush=True)


if __name__ == "__main__":
    main()
