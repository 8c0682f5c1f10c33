//! Every format that is read from a file, with small whole files and the reader.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use candle_vision::data::{DatasetOptions, ImageIndex};
use candle_vision::image::{DecodeOptions, decode_with};
use candle_yolov8::data::{CocoInstances, DataYaml, DatasetSplit};
use candle_yolov8::{ModelConfig, summary};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

/// A format.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    /// What the case's file is called.
    pub(crate) file_name: &'static str,
    /// Whether a few of its bytes may make much: pieces are repeated up to a megabyte.
    pub(crate) repeats: bool,
    /// Files that are read without complaint.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Whether the reader read a case, in place of refusing it.
    pub(crate) read: fn(&Path, &[u8]) -> bool,
}

pub(crate) const FORMATS: [Format; 18] = [
    image("jpeg", || {
        let names = ["baseline-420.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "ycck.jpg", "orientation-6.jpg"];
        names.map(golden).to_vec()
    }),
    image("png", || ["rgb.png", "palette-transparent.png", "grey16.png", "rotated.png"].map(golden).to_vec()),
    image("webp", || ["lossy.webp", "lossless-alpha.webp", "rotated.webp"].map(golden).to_vec()),
    image("bmp", || ["rgb.bmp", "palette.bmp", "grey.bmp"].map(golden).to_vec()),
    image("gif", || vec![encoded(ImageFormat::Gif)]),
    image("tiff", || stored("more_formats.json", ".tif")),
    image("avif", || stored("avif.json", ".avif")),
    file(
        "parquet",
        "a.parquet",
        || ["hub.parquet", "pages.parquet", "named.parquet"].map(set).to_vec(),
        |path, _| {
            images(path, &DatasetOptions::new(1000))
                || images(path, &DatasetOptions::new(10))
                || images(path, &DatasetOptions::new(7))
        },
    ),
    file(
        "tar",
        "a.tar",
        || ["gnu.tar", "pax.tar"].map(set).to_vec(),
        |path, _| images(path, &DatasetOptions::new(1000)),
    ),
    file(
        "labels.csv",
        "labels.csv",
        || vec![b"name,label\na.jpg,0\nb.jpg,2\n\"c d.jpg\",1\n".to_vec()],
        |path, _| {
            let folder = path.with_file_name("listed");
            for name in ["a.jpg", "b.jpg", "c d.jpg"] {
                place(&folder.join(name), &[]);
            }
            let options = DatasetOptions::new(3).labels(path);
            ImageIndex::open(&folder, &options).is_ok()
        },
    ),
    checkpoint("safetensors", "a.safetensors", safetensors, |path, _| ghostzoo_weights::read(path).is_ok()),
    checkpoint("pickle of a pt", "c.pt", pickles, |path, bytes| {
        place(path, &archive(bytes));
        ghostzoo_weights::read(path).is_ok()
    }),
    checkpoint(
        "pt",
        "a.pt",
        || ["zip.pt", "state_dict.pt", "dtypes.pt", "views.pt"].map(pickle).to_vec(),
        |path, _| ghostzoo_weights::read(path).is_ok(),
    ),
    checkpoint(
        "pt (legacy)",
        "b.pt",
        || ["legacy.pt", "views_legacy.pt"].map(pickle).to_vec(),
        |path, _| ghostzoo_weights::read(path).is_ok(),
    ),
    file("model.yaml", "own.yaml", models, |_, bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        ModelConfig::from_yaml(text, Some("own.yaml"), None).is_ok_and(|model| summary(&model, [640; 2]).is_ok())
    }),
    file("data.yaml", "data.yaml", data_yaml, |path, _| {
        place(&path.with_file_name("images").join("a.png"), &golden("rgb.png"));
        DataYaml::read(path)
            .is_ok_and(|data| DatasetSplit::open(&data, "val").is_ok_and(|split| split.labels().is_ok()))
    }),
    file("label lines", "a.txt", label_lines, |path, bytes| {
        let folder = path.with_file_name("detect");
        place(&folder.join("images").join("a.png"), &golden("rgb.png"));
        place(&folder.join("labels").join("a.txt"), bytes);
        place(&folder.join("data.yaml"), b"train: images\nval: images\nnames: [a, b]\n");
        let data = DataYaml::read(&folder.join("data.yaml")).expect("a whole file");
        DatasetSplit::open(&data, "val").is_ok_and(|split| split.labels().is_ok())
    }),
    file("instances.json", "instances.json", instances, |path, _| {
        place(&path.with_file_name("images").join("a.png"), &golden("rgb.png"));
        CocoInstances::read(path).is_ok_and(|instances| instances.images(None).is_ok())
    }),
];

const fn image(name: &'static str, seeds: fn() -> Vec<Vec<u8>>) -> Format {
    Format { name, file_name: name, repeats: false, seeds, read: is_decoded }
}

const fn file(
    name: &'static str,
    file_name: &'static str,
    seeds: fn() -> Vec<Vec<u8>>,
    read: fn(&Path, &[u8]) -> bool,
) -> Format {
    Format { name, file_name, repeats: false, seeds, read }
}

const fn checkpoint(
    name: &'static str,
    file_name: &'static str,
    seeds: fn() -> Vec<Vec<u8>>,
    read: fn(&Path, &[u8]) -> bool,
) -> Format {
    Format { repeats: true, ..file(name, file_name, seeds, read) }
}

/// Few pixels: what an image takes is known from its size, which a header can say at will.
fn is_decoded(_: &Path, bytes: &[u8]) -> bool {
    let few = DecodeOptions::new().max_pixels(1 << 20);
    decode_with(bytes, &few).is_ok()
}

fn images(path: &Path, options: &DatasetOptions<'_>) -> bool {
    let Ok(set) = ImageIndex::open(path, options) else { return false };
    for image in set.images(0..set.len()).flatten() {
        let _ = image.read();
    }
    true
}

fn read(path: PathBuf) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn golden(name: &str) -> Vec<u8> {
    read(root().join("tests/golden/image").join(name))
}

fn set(name: &str) -> Vec<u8> {
    read(root().join("tests/golden/data").join(name))
}

fn pickle(name: &str) -> Vec<u8> {
    read(root().join("tests/golden/weights").join(name))
}

/// The files of a golden list that Pillow and `cv2` read.
fn stored(list: &str, extension: &str) -> Vec<Vec<u8>> {
    let golden: Value = serde_json::from_slice(&golden(list)).expect("JSON");
    let cases = golden["files"].as_array().expect("files").iter();
    let whole = cases.filter(|case| {
        case["name"].as_str().is_some_and(|name| name.ends_with(extension))
            && case["pillow"].is_array()
            && case["opencv"].is_array()
    });
    let decoded = whole.map(|case| BASE64_STANDARD.decode(case["file"].as_str().expect("a file")).expect("base64"));
    decoded.collect()
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(23, 17, |x, y| image::Rgb([x as u8 * 9, y as u8 * 13, 77]));
    image.write_to(&mut bytes, format).expect("an encoder");
    bytes.into_inner()
}

fn safetensors() -> Vec<Vec<u8>> {
    let header = json!({
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
    });
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    vec![[(header.len() as u64).to_le_bytes().to_vec(), header, vec![0; 32]].concat()]
}

/// A dict of weights with what training scripts put beside them, and a module.
fn pickles() -> Vec<Vec<u8>> {
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ\
        K\0K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR";
    let dict = [
        b"\x80\x02}q\0(X\x05\0\0\0modelq\x01}q\x02X\x01\0\0\0wq\x03".as_slice(),
        tensor,
        b"q\x04sX\x05\0\0\0names](X\x03\0\0\0catX\x03\0\0\0dogeX\x05\0\0\0epochK\x07X\x04\0\0\0yaml}X\x02\0\0\0ncK\x02s\
        X\x04\0\0\0seenc__builtin__\nset\n]h\x01a\x85RX\x01\0\0\0fG?\xf0\0\0\0\0\0\0u.",
    ];
    let module = [
        b"\x80\x04cmine\nNet\n)\x81}(X\x08\0\0\0_modules}X\x0b\0\0\0_parameters}X\x01\0\0\0w".as_slice(),
        tensor,
        b"sX\x08\0\0\0_buffers}X\x1b\0\0\0_non_persistent_buffers_setc__builtin__\nset\n]\x94\x85Rub.",
    ];
    vec![dict.concat(), module.concat()]
}

/// The zip of `torch.save` around a pickle, without sums, with one storage.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in [("archive/data.pkl", pickle), ("archive/data/0", &[0; 24])] {
        let start = (out.len() as u32).to_le_bytes();
        let length = (content.len() as u32).to_le_bytes();
        let sizes = [length.as_slice(), &length, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        out.extend([b"PK\x03\x04".as_slice(), &[0; 14], &sizes, name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 16], &sizes, &[0; 10], &start, name.as_bytes()].concat());
    }
    let (start, length) = ((out.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    [out, directory, [b"PK\x05\x06\0\0\0\0\x02\0\x02\0".as_slice(), &length, &start, &[0; 2]].concat()].concat()
}

fn models() -> Vec<Vec<u8>> {
    let shipped = ["yolov8.yaml", "yolov8-ghostnet.yaml", "yolov8-ghost-p6.yaml"]
        .map(|name| read(root().join("candle-yolov8/models").join(name)));
    let own = read(root().join("tests/golden/yolov8/own.yaml"));
    shipped.into_iter().chain([own]).collect()
}

fn data_yaml() -> Vec<Vec<u8>> {
    let list = "path: .\ntrain: images\nval: [images, images/a.png]\nnc: 2\nnames: [one, 'two']\n";
    let numbered = "train: images\nval: images\nnames:\n  0: one\n  1: two # three\n";
    [list, numbered].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn label_lines() -> Vec<Vec<u8>> {
    let boxes = "0 0.5 0.5 0.2 0.3\n1 0.25 0.75 0.1 0.1\n";
    let outlines = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n";
    [boxes, outlines].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn instances() -> Vec<Vec<u8>> {
    let instances = json!({
        "images": [{"id": 7, "file_name": "a.png", "width": 13, "height": 9}],
        "categories": [{"id": 1, "name": "one"}, {"id": 3, "name": "two"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 5.5, 4.0], "area": 22.0, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 3, 3], "iscrowd": 1, "segmentation": [[0, 0, 3, 0, 3, 3]]},
        ],
    });
    vec![instances.to_string().into_bytes()]
}

fn place(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}
