"""Boxes of many images on a Ray cluster: a Parquet file per block of images, written whole or not at all.

    pip install ./python 'ray[data]'
    python python/examples/ray_detect.py images/ boxes/ --workers 8

The images are files below a folder, or the bytes in a column of the Parquet files below it (``--column``). Images and boxes lie on disks that
all machines see, or where pyarrow can look: s3://, gs://, hdfs://. Started again, it goes on with the blocks that are not there. A folder
of boxes is of one model, one ``--conf`` and the same images. One run at a time writes into it: what a killed one left is removed first.
"""

import argparse
import hashlib
import json
import os
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ghostzoo.ray import RESULT, DetectBatch
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
        try:
            with self.filesystem.open_output_stream(own) as stream:
                for table in self.tables(files):
                    images += table.num_rows
                    boxes = self.detect(table)
                    failed += boxes.num_rows - boxes["error"].null_count
                    writer = writer or pq.ParquetWriter(stream, boxes.schema)
                    writer.write_table(boxes)
                writer.close()
            self.filesystem.move(own, final)
        except BaseException:
            if self.filesystem.get_file_info(own).is_file:
                self.filesystem.delete_file(own)
            raise
        return images, failed

    def tables(self, files):
        if self.column is None:
            for start in range(0, len(files), CHUNK):
                yield pa.table({"path": files[start : start + CHUNK]})
            return
        for address in files:
            filesystem, path = place(address)
            with filesystem.open_input_file(path) as file:
                parquet = pq.ParquetFile(file)
                if self.detect is None:
                    self.detect = DetectBatch(images=self.column, keep=kept(parquet.schema_arrow, self.column), **self.options)
                # Of a file without rows too, so that its block is done.
                yield parquet.schema_arrow.empty_table()
                for batch in parquet.iter_batches(CHUNK):
                    yield pa.Table.from_batches([batch])


def kept(schema, column):
    """The columns that the boxes have of the images' file: those whose names are not the boxes' own."""
    return [name for name in schema.names if name != column and name not in RESULT]


def listing(address, endings):
    """All files below a folder whose names end so, sorted, as addresses."""
    filesystem, folder = place(address)
    found = filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    scheme = f"{address.split('://')[0]}://" if "://" in address else ""
    paths = [info.path for info in found if info.is_file and info.path.lower().endswith(endings)]
    return [scheme + path for path in sorted(paths)]


def schema_of(address):
    """The columns of a Parquet file."""
    filesystem, path = place(address)
    with filesystem.open_input_file(path) as file:
        return pq.read_schema(file)


def marked(model):
    """What tells a model apart: a file's content, or a name."""
    if not os.path.isfile(model):
        return model
    with open(model, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


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
    if args.column and files:
        names = schema_of(files[0]).names
        if args.column not in names:
            raise SystemExit(f"`--column`: {files[0]} has no column {args.column!r}; it has {', '.join(names)}")
        for name in sorted(set(names) & set(RESULT) - {args.column}):
            print(f"the column {name!r} is left out: the boxes have one of that name", flush=True)
    groups = [files[start : start + size] for start in range(0, len(files), size)]
    # A block is told by all that its boxes depend on, so that another run does not take it for its own.
    run = [marked(args.model), args.conf, args.column]
    digest = lambda group: hashlib.sha256(json.dumps([run, group]).encode()).hexdigest()[:12]
    blocks = {f"boxes-{number:06}-{digest(group)}": group for number, group in enumerate(groups)}
    filesystem, folder = place(args.output)
    filesystem.create_dir(folder)
    there = {os.path.basename(info.path) for info in filesystem.get_file_info(fs.FileSelector(folder)) if info.is_file}
    done = {name.removesuffix(".parquet") for name in there if name.startswith("boxes-")}
    if done - blocks.keys():
        text = "holds boxes of other images, of another model, `--conf` or `--column`, or of blocks of another size"
        raise SystemExit(f"{args.output} {text}: give another folder")
    leftovers = [name for name in there if name.startswith(".boxes-")]
    for name in leftovers:
        filesystem.delete_file(f"{folder}/{name}")
    if leftovers:
        print(f"{len(leftovers)} unfinished files of a run before are removed", flush=True)
    left = [{"name": name, "files": group} for name, group in blocks.items() if name not in done]
    print(f"{len(files)} files, {len(blocks)} blocks, {len(done)} of them done before", flush=True)
    if not left:
        return

    options = {"threads": args.threads, "conf": args.conf}
    model = os.path.abspath(args.model) if os.path.isfile(args.model) else args.model
    written = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
        WriteBlock,
        fn_constructor_args=[args.output, model, args.column, options],
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
