//! Where training scripts put weights, how wrappers name them, and what files say of their classes.

mod pickles;

use std::path::Path;

use candle_core::DType;
use ghostzoo_weights::{Checkpoint, KeyLayout, read};
use pickles::{Py, dict, save};

fn of(value: &Py) -> Checkpoint {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.pt");
    save(&path, value);
    read(&path).unwrap_or_else(|error| panic!("{error} in {value:?}"))
}

/// The names that a checkpoint has, and the first element of each tensor.
fn found(checkpoint: &Checkpoint) -> Vec<(&str, f32)> {
    let first = |tensor: &candle_core::Tensor| {
        tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_vec1::<f32>()).expect("values")[0]
    };
    checkpoint.tensors.iter().map(|(name, tensor)| (name.as_str(), first(tensor))).collect()
}

const STEM: &[i32] = &[2, 3, 1, 1];

/// A GhostNet's first tensors, of this value, with a prefix before each name.
fn ghostnet(prefix: &str, value: f32) -> Py {
    let name = |name: &str| format!("{prefix}{name}");
    dict([
        (name("conv_stem.weight"), Py::Tensor(STEM, value)),
        (name("bn1.weight"), Py::Tensor(&[2], value)),
        (name("bn1.num_batches_tracked"), Py::Counter(9)),
    ])
}

const GHOSTNET: [(&str, f32); 2] = [("bn1.weight", 1.), ("conv_stem.weight", 1.)];

#[test]
fn prefixes_of_wrappers_are_stripped_in_every_number_and_order() {
    let parts = ["module.", "_orig_mod.", "model.", "timm_model."];
    let mut prefixes = vec![String::new()];
    for length in 0..3 {
        let longest: Vec<String> =
            prefixes.iter().filter(|prefix| prefix.matches('.').count() == length).cloned().collect();
        prefixes.extend(longest.iter().flat_map(|prefix| parts.map(|part| format!("{prefix}{part}"))));
    }
    prefixes.extend(["backbone.", "net.encoder.", "ema_model.module."].map(str::to_owned));
    assert_eq!(prefixes.len(), 1 + 4 + 16 + 64 + 3);
    for prefix in &prefixes {
        let checkpoint = of(&ghostnet(prefix, 1.));
        assert_eq!(found(&checkpoint), GHOSTNET, "{prefix}");
        assert_eq!(checkpoint.metadata.layout, KeyLayout::Timm, "{prefix}");
        let yolo = |first: &str| {
            let tensors = [(format!("{prefix}{first}"), Py::Tensor(&[1], 1.))];
            of(&dict(tensors))
        };
        for first in ["model.0.conv.weight", "model.0.cv1.conv.weight"] {
            let checkpoint = yolo(first);
            assert_eq!(found(&checkpoint), [(first, 1.)], "{prefix}{first}");
            assert_eq!(checkpoint.metadata.layout, KeyLayout::Ultralytics, "{prefix}{first}");
        }
    }
}

#[test]
fn what_lies_outside_of_a_wrapper_keeps_its_name_and_two_networks_keep_theirs() {
    let mut lightning = match ghostnet("model.", 1.) {
        Py::Dict(pairs) => pairs,
        other => panic!("{other:?}"),
    };
    lightning.push((Py::Str("criterion.weight"), Py::Tensor(&[5], 2.)));
    let checkpoint = of(&dict([("state_dict", Py::Dict(lightning.clone())), ("epoch", Py::Int(3))]));
    assert_eq!(found(&checkpoint), [GHOSTNET[0], GHOSTNET[1], ("criterion.weight", 2.)]);
    lightning.push((Py::Str("teacher.conv_stem.weight"), Py::Tensor(STEM, 3.)));
    let checkpoint = of(&Py::Dict(lightning));
    assert!(checkpoint.tensors.contains_key("model.conv_stem.weight"), "{:?}", found(&checkpoint));
    let other = of(&dict([("module._orig_mod.encoder.weight", Py::Tensor(&[1], 1.))]));
    assert_eq!((found(&other), other.metadata.layout), (vec![("encoder.weight", 1.)], KeyLayout::Other));
}

#[test]
fn an_average_without_weights_and_a_wrapper_of_settings_are_passed_over() {
    let weights = || ghostnet("", 1.);
    let other = || ghostnet("", 5.);
    let shadow = Py::List(vec![Py::Tensor(STEM, 7.), Py::Tensor(&[2], 7.)]);
    let cases = [
        ("empty ema", dict([("model", weights()), ("ema", dict::<&str>([]))])),
        ("ema None", dict([("model", weights()), ("ema", Py::None)])),
        ("updates", dict([("state_dict", weights()), ("ema", dict([("updates", Py::Int(3))]))])),
        ("decay", dict([("model", weights()), ("ema", dict([("decay", Py::Float(0.9))]))])),
        ("a counter", dict([("model", weights()), ("model_ema", dict([("updates", Py::Counter(3))]))])),
        (
            "torch_ema",
            dict([("model", weights()), ("ema", dict([("decay", Py::Float(0.9)), ("shadow_params", shadow)]))]),
        ),
        ("settings", dict([("model", dict([("name", Py::Str("ghostnet_050"))])), ("state_dict", weights())])),
        (
            "nested settings",
            dict([("model", dict([("net", dict([("depth", Py::Int(3))]))])), ("state_dict", weights())]),
        ),
        ("a name", dict([("model", Py::Str("ghostnet_050")), ("state_dict", weights())])),
        ("an average", dict([("model", other()), ("ema", weights())])),
        (
            "an average in a wrapper",
            dict([("model", other()), ("ema", dict([("module", weights()), ("updates", Py::Int(1))]))]),
        ),
        ("timm's average", dict([("state_dict", other()), ("state_dict_ema", weights())])),
        ("timm's order", dict([("model", other()), ("state_dict", weights())])),
        (
            "of Lightning",
            dict([("state_dict", ghostnet("model.", 1.)), ("hyper_parameters", dict([("lr", Py::Float(0.1))]))]),
        ),
        (
            "of AveragedModel",
            dict([(
                "model",
                match ghostnet("module.", 1.) {
                    Py::Dict(mut pairs) => {
                        pairs.push((Py::Str("n_averaged"), Py::Counter(4)));
                        Py::Dict(pairs)
                    }
                    other => other,
                },
            )]),
        ),
        ("under another key", dict([("params", ghostnet("", 1.))])),
    ];
    for (what, value) in cases {
        assert_eq!(found(&of(&value)), GHOSTNET, "{what}");
    }
}

#[test]
fn class_names_are_what_python_shows_of_them() {
    let names = |names: Py| {
        let value = dict([("model", ghostnet("", 1.)), ("names", names)]);
        of(&value).metadata.names.unwrap_or_default()
    };
    let odd = || {
        vec![
            Py::Int(5),
            Py::None,
            Py::Bytes(b"x"),
            Py::Bool(true),
            Py::Float(1.5),
            Py::Str("cat"),
            Py::Tuple(vec![Py::Str("n01"), Py::Int(1)]),
        ]
    };
    // Python 3.12: [str(n) for n in (5, None, b"x", True, 1.5, "cat", ("n01", 1))]
    let shown = ["5", "None", "b'x'", "True", "1.5", "cat", "('n01', 1)"];
    assert_eq!(names(Py::List(odd())), shown);
    assert_eq!(names(Py::Tuple(odd())), shown);
    let keyed = |key: fn(i32) -> Py| Py::Dict(odd().into_iter().enumerate().map(|(i, n)| (key(i as i32), n)).collect());
    assert_eq!(names(keyed(Py::Int)), shown);
    assert_eq!(names(keyed(|i| Py::Str(Box::leak(i.to_string().into_boxed_str())))), shown);
    assert_eq!(names(Py::Dict(vec![(Py::Int(2), Py::Str("c")), (Py::Int(0), Py::Str("a"))])), ["a", "1", "c"]);
    assert_eq!(names(Py::List(vec![Py::Object("mine.Label", Box::new(dict::<&str>([]))), Py::Str("b")])), ["0", "b"]);
    assert!(names(Py::Dict(vec![(Py::Int(100_000_000), Py::Str("far"))])).is_empty());
    assert!(names(Py::Dict(vec![(Py::Str("cat"), Py::Int(0))])).is_empty(), "from name to number");
}

#[test]
fn a_models_class_tells_its_task_where_its_arguments_do_not() {
    for (class, task) in [
        ("DetectionModel", "detect"),
        ("SegmentationModel", "segment"),
        ("PoseModel", "pose"),
        ("OBBModel", "obb"),
        ("ClassificationModel", "classify"),
    ] {
        let class: &'static str = Box::leak(format!("ultralytics.nn.tasks.{class}").into_boxed_str());
        let state = dict([
            ("_modules", dict::<&str>([])),
            ("_parameters", dict([("model.0.conv.weight", Py::Tensor(STEM, 1.))])),
        ]);
        let model = Py::Object(class, Box::new(state));
        let checkpoint = of(&dict([("model", model.clone())]));
        assert_eq!(checkpoint.metadata.task.as_deref(), Some(task));
        let said = dict([("task", Py::Str("pose"))]);
        assert_eq!(of(&dict([("model", model), ("train_args", said)])).metadata.task.as_deref(), Some("pose"));
    }
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/weights").join(name)
}

#[test]
fn files_without_sums_and_plain_ones_of_every_protocol_are_read() {
    for name in ["no_sums", "protocol1", "plain1", "plain2", "plain3", "plain4", "plain5"] {
        let checkpoint = read(&data(&format!("containers/{name}.pt"))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found(&checkpoint), [("bn1.bias", 0.5), ("conv_stem.weight", 0.)], "{name}");
        let stem = &checkpoint.tensors["conv_stem.weight"];
        let stem = stem.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        assert_eq!(stem, [0., 0.25, 0.5, 0.75, 1., 1.25], "{name}");
        assert_eq!(checkpoint.metadata.epoch, name.starts_with("plain").then_some(7), "{name}");
    }
}

/// `unread` of `tests/oracle/checkpoints.py`: each kind, and what its message says.
const UNREAD: [(&str, &str); 29] = [
    ("uint16", "uint16"),
    ("uint32", "uint32"),
    ("uint64", "uint64"),
    ("float8_e4m3fn", "float8_e4m3fn"),
    ("float8_e4m3fnuz", "float8_e4m3fnuz"),
    ("float8_e5m2", "float8_e5m2"),
    ("float8_e5m2fnuz", "float8_e5m2fnuz"),
    ("float8_e8m0fnu", "float8_e8m0fnu"),
    ("complex32", "complex32"),
    ("complex64", "complex64"),
    ("complex128", "complex128"),
    ("float4_e2m1fn_x2", "float4_e2m1fn_x2"),
    ("bits8", "bits8"),
    ("bits16", "bits16"),
    ("qint8", "dequantize()"),
    ("quint8", "dequantize()"),
    ("qint32", "dequantize()"),
    ("per_channel", "dequantize()"),
    ("coo", "to_dense()"),
    ("csr", "to_dense()"),
    ("csc", "to_dense()"),
    ("bsr", "to_dense()"),
    ("bsc", "to_dense()"),
    ("meta", "without values"),
    ("nested", "nested"),
    ("jagged", "nested"),
    ("masked", "subclass"),
    ("negated", "resolve_neg()"),
    ("parameter", "float8_e5m2"),
];

#[test]
fn tensors_that_candle_cannot_hold_are_inert_beside_the_weights_and_named_among_them() {
    for suffix in ["", "_legacy"] {
        let beside = read(&data(&format!("unread/beside{suffix}.pt"))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found(&beside), [("conv_stem.weight", 0.5)], "beside{suffix}");
        assert!(beside.metadata.unread.is_empty(), "{:?}", beside.metadata.unread);
        let needed = read(&data(&format!("unread/needed{suffix}.pt"))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found(&needed), [("conv_stem.weight", 0.5)], "needed{suffix}");
        let unread = &needed.metadata.unread;
        assert_eq!(unread.len(), UNREAD.len() + 1, "{unread:?}");
        for (name, part) in UNREAD.iter().chain(&[("conjugated", "complex64")]) {
            let why = unread.get(*name).unwrap_or_else(|| panic!("{name} is told in {unread:?}"));
            assert!(why.contains(part) && why.contains("save"), "{name}: {why}");
        }
    }
    let error = read(&data("unread/nothing_else.pt")).expect_err("nothing can be read").to_string();
    assert!(error.contains("its tensor a.weight is of type float8_e5m2") && error.contains("float()"), "{error}");
}

#[test]
fn safetensors_of_other_types_are_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.safetensors");
    let header = concat!(
        r#"{"module.conv_stem.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
        r#""module.scale":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[4,6]},"#,
        r#""module.ids":{"dtype":"U16","shape":[1],"data_offsets":[6,8]}}"#
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(2f32.to_le_bytes());
    bytes.extend([0; 4]);
    std::fs::write(&path, &bytes).expect("written");
    let checkpoint = read(&path).expect("readable");
    assert_eq!(found(&checkpoint), [("conv_stem.weight", 2.)]);
    let names: Vec<_> = checkpoint.metadata.unread.iter().map(|(name, why)| format!("{name} {why}")).collect();
    assert!(
        names[0].starts_with("ids is of type U16") && names[1].starts_with("scale is of type F8_E4M3"),
        "{names:?}"
    );

    bytes.pop();
    std::fs::write(&path, &bytes).expect("written");
    let error = read(&path).expect_err("cut").to_string();
    let length = bytes.len();
    assert!(error.contains(&format!("{length} of its {} bytes are there", length + 1)), "{error}");
    assert!(error.contains("is incomplete") && error.contains("get it again"), "{error}");
}
