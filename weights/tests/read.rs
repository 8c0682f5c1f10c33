//! Files of `torch.save` and of our own writer, and hostile ones. Fixtures come from `tests/oracle/checkpoints.py`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use ghostzoo_weights::{Error, Layout, Metadata, Preprocessing, read, write};
use proptest::prelude::*;
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).and_then(|t| t.to_vec1()).expect("readable")
}

fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::U8 => "uint8",
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn every_container_protocol_dtype_and_view_reads_as_pytorch_reads_it() {
    let expected: Value = serde_json::from_slice(&std::fs::read(data("expected.json")).expect("file")).expect("JSON");
    let expected = expected.as_object().expect("files");
    assert_eq!(expected.len(), 13, "fixtures");
    for (file, tensors) in expected {
        let checkpoint = read(&data(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let tensors = tensors.as_object().expect("tensors");
        // Integer scalars are counters, which the reader drops; the fixtures have none under another name.
        assert_eq!(checkpoint.tensors.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>(), "{file}");
        for (name, expected) in tensors {
            let tensor = &checkpoint.tensors[name];
            let values = values(tensor);
            let shape: Vec<Value> = tensor.dims().iter().map(|side| Value::from(*side)).collect();
            assert_eq!(Value::from(shape), expected["shape"], "{file}: {name}");
            let dtype = match expected["dtype"].as_str().expect("dtype") {
                "bool" => "uint8",
                "int8" => "int64",
                dtype => dtype,
            };
            assert_eq!(dtype_name(tensor.dtype()), dtype, "{file}: {name}");
            let weighted: f64 = values.iter().enumerate().map(|(i, v)| v * (i + 1) as f64 / values.len() as f64).sum();
            for (got, key) in [(values.iter().sum::<f64>(), "sum"), (weighted, "weighted")] {
                let expected = expected[key].as_f64().expect("number");
                assert!(
                    (got - expected).abs() <= 1e-9 * (1. + expected.abs()),
                    "{file}: {key} of {name}: {got} {expected}"
                );
            }
        }
    }
}

#[test]
fn a_pickled_module_gives_its_metadata() {
    for file in ["module.pt", "module_legacy.pt"] {
        let metadata = read(&data(file)).expect("readable").metadata;
        assert_eq!(metadata.names, Some(vec!["cat".to_owned(), "dog".to_owned()]), "{file}");
        assert_eq!((metadata.nc, metadata.imgsz, metadata.epoch), (Some(2), Some(416), Some(-1)), "{file}");
        assert_eq!(metadata.task.as_deref(), Some("detect"), "{file}");
        assert_eq!(metadata.licence.as_deref(), Some("AGPL-3.0"), "{file}");
        let yaml = metadata.yaml.expect("yaml");
        assert_eq!(yaml["backbone"][0], serde_json::json!([-1, 1, "Conv", [64, 3, 2]]), "{file}");
        assert_eq!(metadata.stride, Some(vec![8, 16, 32]), "{file}");
        assert_eq!((metadata.layout, metadata.fused), (Layout::Ultralytics, false), "{file}");
    }
    let metadata = read(&data("state_dict.pt")).expect("readable").metadata;
    assert_eq!((metadata.arch.as_deref(), metadata.epoch), (Some("ghostnet_100"), Some(3)));
    assert_eq!(metadata.layout, Layout::Timm);
}

#[test]
fn hostile_files_are_refused_in_one_line_and_execute_nothing() {
    let cases = [
        ("reduce_system.pt", "`posix.system`"),
        ("reduce_getattr.pt", ".getattr`"),
        ("inst.pt", "`os.system`"),
        ("obj.pt", "`os.system`"),
        ("stack_global.pt", "`posix.system`"),
        ("long_string.pt", "announced"),
        ("long_string8.pt", "announced"),
        ("memo.pt", "memo 7"),
        ("empty_stack.pt", "empty stack"),
        ("deep.pt", "no model weights"),
        ("laughs.pt", "more than 200000 names"),
        ("past_storage.pt", "reaches past its storage"),
        ("past_offset.pt", "reaches past its storage"),
        ("negative_stride.pt", "offset, size or stride"),
        ("expanded.pt", "expand"),
        ("overflow.pt", "overflow"),
        ("no_storage.pt", "not in the file"),
        ("bomb.pt", "compressed"),
        ("truncated.pt", "zip"),
        ("truncated_legacy.pt", "ends past the file"),
    ];
    for (file, part) in cases {
        let error = read(&data("hostile").join(file)).expect_err(file).to_string();
        assert!(error.contains(part), "{file}: {error}");
        assert!(error.contains(file) && !error.contains('\n'), "{file}: {error}");
    }
    assert!(!Path::new("/tmp/ghostzoo-was-here").exists(), "nothing was executed");
}

#[test]
fn files_of_other_kinds_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    assert!(matches!(read(&folder.path().join("none.pt")), Err(Error::Io { .. })));
    assert!(matches!(read(folder.path()), Err(Error::Io { .. })));
    assert!(matches!(read(&file("empty.pt", b"")), Err(Error::NotACheckpoint { .. })));
    assert!(matches!(read(&file("text.pt", b"hello, this is not a model")), Err(Error::NotACheckpoint { .. })));
    let mut header = 1_000_000_000_000u64.to_le_bytes().to_vec();
    header.extend(b"{\"a\":");
    assert!(matches!(read(&file("header.safetensors", &header)), Err(Error::Invalid { .. })));
    let short = [&20u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":\"F32\"}}"].concat();
    assert!(matches!(read(&file("short.safetensors", &short)), Err(Error::Invalid { .. })));
}

#[test]
fn what_is_written_reads_back_exactly_and_replaces_whole_files() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.safetensors");
    let mut checkpoint = read(&data("module.pt")).expect("readable");
    checkpoint.metadata.preprocessing = Some(Preprocessing {
        input_size: [224, 224],
        crop_pct: 0.875,
        interpolation: "bicubic".to_owned(),
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    });
    std::fs::write(&path, b"an older file").expect("written");
    write(&path, &checkpoint).expect("writable");
    let again = read(&path).expect("readable");
    assert_eq!(again.metadata, checkpoint.metadata);
    assert_eq!(again.tensors.keys().collect::<Vec<_>>(), checkpoint.tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &checkpoint.tensors {
        assert_eq!(again.tensors[name].dtype(), tensor.dtype(), "{name}");
        assert_eq!(values(&again.tensors[name]), values(tensor), "{name}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("folder").collect();
    assert_eq!(files.len(), 1, "no temporary file is left");
    assert!(matches!(write(&folder.path().join("no/such/folder.safetensors"), &checkpoint), Err(Error::Io { .. })));

    let half = checkpoint.to_dtype(DType::BF16).expect("castable");
    write(&path, &half).expect("writable");
    assert!(read(&path).expect("readable").tensors.values().all(|tensor| tensor.dtype() == DType::BF16));
    assert_ne!(half.metadata, Metadata::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damaged_files_never_panic(
        file in prop::sample::select(vec!["zip.pt", "legacy.pt", "module.pt", "views.pt", "module_legacy.pt"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(data(file)).expect("fixture");
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let damaged = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(damaged.path(), &bytes).expect("written");
        let _ = read(damaged.path());
    }
}
