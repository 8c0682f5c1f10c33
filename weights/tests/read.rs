//! Files of `torch.save` and of our own writer, and hostile ones. Fixtures come from `tests/oracle/checkpoints.py`.

mod pickles;

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use ghostzoo_weights::{Checkpoint, Error, KeyLayout, Metadata, Preprocessing, read, write};
use proptest::prelude::*;
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/weights").join(name)
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
    assert_eq!(expected.len(), 14, "fixtures");
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
        // The yaml says C3Ghost; the layer is of the user's own class.
        assert_eq!(yaml["head"][0], serde_json::json!([-1, 3, "C2fGhost", [128]]), "{file}");
        assert_eq!(metadata.stride, Some(vec![8, 16, 32]), "{file}");
        assert_eq!((metadata.layout, metadata.fused), (KeyLayout::Ultralytics, false), "{file}");
    }
    let metadata = read(&data("state_dict.pt")).expect("readable").metadata;
    assert_eq!((metadata.arch.as_deref(), metadata.epoch), (Some("ghostnet_100"), Some(3)));
    assert_eq!(metadata.layout, KeyLayout::Timm);
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
        ("copied_globals.pt", "copies data many times over"),
        ("copied_lists.pt", "copies data many times over"),
        ("copied_bytes.pt", "copies data many times over"),
        ("long_global.pt", "too long"),
        ("long_path.pt", "too long"),
        ("long_name.pt", "too long a name"),
        ("terminal.pt", "`os\u{fffd}\u{fffd}[2J.system`"),
        ("type_v2.pt", "`torch._tensor._rebuild_from_type_v2`"),
        ("empty_overflow.pt", "overflow"),
        ("truncated.pt", "directory at the end of the zip is missing; it was cut off"),
        ("truncated_legacy.pt", "ends past the file; it was cut off"),
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
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let others: [(&[u8], &str); 19] = [
        (b"", "an empty file"),
        (b"hello, this is not a model", "something else"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version=\"1.0\"?>\n<net name=\"yolov8n\" version=\"11\">", "OpenVINO"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x04}.", "a bare pickle"),
        (b"\x80\x02\x8a\x09abcdefghi.", "a bare pickle"),
        (&tar, "a tar archive"),
        (b"\x08\x08\x12\x07pytorch\x1a\x062.15.0", "an ONNX model"),
        (b"\x08\x0a:\xd0\x10", "an ONNX model"),
        (b"\x08\x01\x12\x95\xd3\x01\x0a", "TensorFlow"),
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
        (b"7767517\n168 200\n", "ncnn"),
        (b"GGUF\x03\0", "GGUF"),
        (b"\x93NUMPY\x01\0", "numpy"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\xff\xd8\xff\xe0", "an image"),
        (b"ftrt\0\0", "TensorRT"),
    ];
    for (content, expected) in others {
        let error = read(&file("other.pt", content)).expect_err(expected);
        assert!(matches!(error, Error::NotACheckpoint { .. }) && error.to_string().contains(expected), "{error}");
    }
    let mut header = 1_000_000_000_000u64.to_le_bytes().to_vec();
    header.extend(b"{\"a\":");
    assert!(matches!(read(&file("header.safetensors", &header)), Err(Error::Invalid { .. })));
    let short = [&20u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":\"F32\"}}"].concat();
    assert!(matches!(read(&file("short.safetensors", &short)), Err(Error::Invalid { .. })));
}

#[test]
fn a_zip_of_another_program_is_named_for_what_it_is_and_one_that_is_cut_is_said_to_be() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.pt");
    let refused = |names: &[&str]| {
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("created"));
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        names.iter().for_each(|name| zip.start_file(*name, stored).expect("entry"));
        zip.finish().expect("finished");
        let error = read(&path).expect_err("no checkpoint");
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        error.to_string()
    };
    // The entries of torch 2.15's jit.save, _save_for_lite_interpreter, export.save and PackageExporter.
    for (names, part) in [
        (&["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"][..], "a TorchScript archive"),
        (&["m/bytecode.pkl", "m/version"], "a TorchScript archive"),
        (&["m/data/weights/weight_0", "m/models/model.json", "m/archive_format"], "torch.export"),
        (&["m/.data/extern_modules", "m/m/m.pkl"], "torch.package"),
        (&["config.json", "model.weights.h5"], "Keras"),
        (&["MAR-INF/MANIFEST.json", "best.pt"], "TorchServe"),
        (&["conv1.npy"], "numpy"),
        (&["best.pt", "readme.txt"], "unpack it first"),
    ] {
        let error = refused(names);
        assert!(error.contains(part) && !error.contains("hostile"), "{error}");
    }
    for file in ["zip.pt", "legacy.pt", "module.pt", "module_legacy.pt"] {
        let bytes = std::fs::read(data(file)).expect("fixture");
        for share in [30, 60, 99] {
            std::fs::write(&path, &bytes[..bytes.len() * share / 100]).expect("written");
            let error = read(&path).expect_err("cut");
            assert!(matches!(error, Error::Incomplete { .. }), "{share} % of {file}: {error}");
        }
    }
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

    let bytes = std::fs::read(&path).expect("written");
    write(&path, &checkpoint).expect("writable");
    assert_eq!(std::fs::read(&path).expect("written"), bytes, "equal checkpoints give equal bytes");

    let half = checkpoint.to_dtype(DType::BF16).expect("castable");
    write(&path, &half).expect("writable");
    assert!(read(&path).expect("readable").tensors.values().all(|tensor| tensor.dtype() == DType::BF16));
    assert_ne!(half.metadata, Metadata::default());
}

/// A file of `torch.save` around any pickle, with storages of the given sizes.
fn archive(path: &Path, pickle: &[u8], storages: &[usize]) {
    pickles::archive(path, pickle, &storages.iter().map(|size| vec![0; *size]).collect::<Vec<_>>());
}

/// Whole instructions, so that random programs get past the first one.
fn snippets() -> Vec<&'static [u8]> {
    vec![
        b"N", b"\x88", b"\x89", b"K\x00", b"K\x01", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"]", b")", b"}", b"\x8f", b"(",
        b"0", b"1", b"2", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91", b"\x94",
        b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"R", b"b", b"\x81", b"\x92", b"\x93", b"Q", b"o",
        b"X\x01\x00\x00\x00w", b"X\x01\x00\x00\x000", b"\x8c\x08_modules", b"\x8c\x0b_parameters", b"\x8c\x05model",
        b"ccollections\nOrderedDict\n", b"cmine\nModule\n", b"c__builtin__\nset\n", b"ctorch\nSize\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"c__builtin__\ngetattr\n",
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02\x85K\x01\x85\x89)t",
        b"cmine\nModule\n)\x81}", b"cmine\nModule\n)\x81}\x8c\x08_modules}sb",
    ]
}

/// The pickle inside a zip fixture.
fn pickle_of(file: &str) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(data(file)).expect("fixture")).expect("zip");
    let name = zip.file_names().map(|name| name.expect("name").into_owned()).find(|name| name.ends_with("data.pkl"));
    let mut pickle = Vec::new();
    let mut entry = zip.by_name(&name.expect("pickle")).expect("entry");
    std::io::Read::read_to_end(&mut entry, &mut pickle).expect("readable");
    pickle
}

#[test]
fn a_pickle_without_end_and_a_damaged_storage_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.pt");
    archive(&path, &b"N0".repeat(2_500_000), &[]);
    assert!(read(&path).expect_err("too long").to_string().contains("more than 4000000 opcodes"));

    let mut bytes = std::fs::read(data("zip.pt")).expect("fixture");
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).expect("zip");
    let start = zip.by_name("zip/data/1").expect("entry").data_start().expect("start");
    bytes[start as usize] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let error = read(&path).expect_err("damaged").to_string();
    assert!(error.contains("entry data/1") && error.contains("checksum"), "{error}");
}

#[test]
fn timms_config_beside_a_file_says_what_the_file_does_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.safetensors");
    let tensor = |rows: usize| Tensor::zeros(rows, DType::F32, &candle_core::Device::Cpu).expect("tensor");
    let tensors = [("conv_stem.weight".to_owned(), tensor(4)), ("classifier.bias".to_owned(), tensor(5))];
    let mut checkpoint = Checkpoint { tensors: tensors.into(), ..Default::default() };
    write(&path, &checkpoint).expect("writable");
    assert_eq!(read(&path).expect("readable").metadata.arch, None);
    for arch in ["ghostnet_050", "repghostnet_050"] {
        let config =
            format!(r#"{{"architecture": "{arch}", "num_classes": 5, "pretrained_cfg": {{"license": "mit"}}}}"#);
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        let metadata = read(&path).expect("readable").metadata;
        assert_eq!((metadata.arch.as_deref(), metadata.nc), (Some(arch), Some(5)));
    }
    checkpoint.tensors.insert("classifier.bias".to_owned(), tensor(7));
    write(&path, &checkpoint).expect("writable");
    assert_eq!(read(&path).expect("readable").metadata.arch, None, "a config of another class count");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damaged_pickles_never_panic(
        file in prop::sample::select(vec!["zip.pt", "module.pt", "views.pt", "protocol5.pt", "dtypes.pt"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut pickle = pickle_of(file);
        for (index, byte) in damage {
            let at = index.index(pickle.len());
            pickle[at] = byte;
        }
        let damaged = tempfile::NamedTempFile::new().expect("temporary file");
        archive(damaged.path(), &pickle, &[512; 40]);
        let _ = read(damaged.path());
    }

    #[test]
    fn random_opcodes_never_panic(
        program in prop::collection::vec(prop::sample::select(snippets()), 1..60),
        ends in any::<bool>(),
    ) {
        let mut pickle = b"\x80\x04".to_vec();
        program.iter().for_each(|snippet| pickle.extend(*snippet));
        if ends {
            pickle.push(b'.');
        }
        let random = tempfile::NamedTempFile::new().expect("temporary file");
        archive(random.path(), &pickle, &[64, 0]);
        let _ = read(random.path());
    }

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
