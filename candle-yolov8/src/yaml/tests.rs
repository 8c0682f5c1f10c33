use super::*;

const SMALL: &str = "
nc: 5
scales: # letter: [depth, width, most channels]
  n: [0.33, 0.25, 1024]
  m: [0.67, 0.75, 100]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 3, C2f, [128, True]]
head:
  - [-1, 1, nn.Upsample, [None, 2, 'nearest']]
  - [[-1, 0], 1, Concat, [1]]
  - [[1], 1, Detect, [nc]]
";

fn parse(text: &str) -> Result<ModelConfig, YamlError> {
    ModelConfig::from_yaml(text, None, None)
}

/// `SMALL` without the layers that need equal strides, and with `row` as its second layer.
fn with_row(row: &str) -> Result<ModelConfig, YamlError> {
    parse(&format!("nc: 5\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]]\n  - {row}\nhead:\n  - [[-1], 1, Detect, [nc]]\n"))
}

fn module(row: &str) -> LayerKind {
    with_row(row).unwrap_or_else(|error| panic!("{row}: {error}")).rows.swap_remove(1).module
}

fn problem(result: Result<ModelConfig, YamlError>) -> String {
    result.expect_err("an error").to_string()
}

#[test]
fn channels_and_repeats_follow_the_scale() {
    let text = SMALL.replace("[-1, 0]", "[0, 0]").replace("[None, 2,", "[None, 1,");
    for (file, scale, channels, repeats) in [
        (None, 'n', [16, 32], 1),
        (Some("yolov8m.yaml"), 'm', [48, 80], 2),
        (Some("some/yolov8m-mine.yaml"), 'm', [48, 80], 2),
        (Some("mine.yaml"), 'n', [16, 32], 1),
    ] {
        let def = ModelConfig::from_yaml(&text, file, None).expect("a model");
        assert_eq!((def.nc, def.scale), (5, Some(scale)), "{file:?}");
        assert_eq!([0, 1].map(|i| def.rows[i].channels), channels, "{file:?}");
        let LayerKind::CspVariant { kind: CspVariant::C2f, n, shortcut: true, .. } = def.rows[1].module else {
            panic!("{def:?}")
        };
        assert_eq!(n, repeats, "{file:?}");
    }
    let asked = ModelConfig::from_yaml(&format!("scale: m\n{text}"), None, Some(7)).expect("a model");
    assert_eq!((asked.nc, asked.scale), (7, Some('m')));
    let error = problem(ModelConfig::from_yaml(&text, Some("yolov8x.yaml"), None));
    assert_eq!(error, "key `scales`: there is no scale `x`, only n, m");
}

#[test]
fn repeats_round_half_to_even_and_never_to_zero() {
    for (depth, repeats, expected) in [(0.5, 3, 2), (0.5, 5, 2), (0.5, 1, 1), (0.1, 3, 1), (0.33, 6, 2), (1., 3, 3)] {
        let text = format!(
            "nc: 1\ndepth_multiple: {depth}\nwidth_multiple: 0.5\nbackbone: [[-1, 1, Conv, [32]], [-1, {repeats}, Conv, [32]]]\n\
             head: [[[1], 1, Detect, [nc]]]"
        );
        let def = parse(&text).expect("a model");
        assert_eq!((def.rows[1].repeats, def.rows[1].channels, def.scale), (expected, 16, None), "{depth} {repeats}");
    }
}

#[test]
fn only_a_letter_behind_the_version_is_a_scale() {
    for (name, letter) in [
        ("yolov8n.yaml", Some('n')),
        ("yolov8s-ghost", Some('s')),
        ("/data/yolov5/yolo11x-p2.yaml", Some('x')),
        ("yolov8x6.yaml", Some('x')),
        ("yolov8.yaml", None),
        ("yolov8-s.yaml", None),
        ("yolov8small.yaml", None),
        ("yolov8n/mine.yaml", None),
        ("bccd3m.yaml", None),
        ("yolon.yaml", None),
    ] {
        assert_eq!(scale_letter(name), letter, "{name}");
    }
}

#[test]
fn arguments_take_pythons_literals_and_defaults() {
    let act = Activation::Silu;
    let conv = |k, s, p, g, d, act| LayerKind::Conv { c1: 64, c2: 32, k, s, p, g, d, act };
    for (row, expected) in [
        ("[-1, 1, Conv, [32]]", conv([1, 1], 1, None, 1, 1, act)),
        ("[-1, 1, Conv, [32, 3, 2, None, 4]]", conv([3, 3], 2, None, 4, 1, act)),
        ("[-1, 1, Conv, [32, [1, 5], 1, 0, 1, 2, False]]", conv([1, 5], 1, Some(0), 1, 2, Activation::Identity)),
        ("[-1, 1, Conv, ['32', '3', \"1\", 'None', 1, 1, nn.ReLU()]]", conv([3, 3], 1, None, 1, 1, Activation::Relu)),
        ("[-1, 1, DWConv, [32, 3, 2]]", LayerKind::DwConv { c1: 64, c2: 32, k: [3, 3], s: 2, d: 1, act }),
        ("[-1, 1, GhostConv, [32, 3, 2]]", LayerKind::GhostConv { c1: 64, c2: 32, k: [3, 3], s: 2, g: 1, act }),
        ("[-1, 1, Bottleneck, [32]]", LayerKind::Bottleneck { c1: 64, c2: 32, shortcut: true, g: 1, e: 0.5 }),
        (
            "[-1, 1, Bottleneck, [32, False, 2, [3, 3], 1.0]]",
            LayerKind::Bottleneck { c1: 64, c2: 32, shortcut: false, g: 2, e: 1. },
        ),
        ("[-1, 1, GhostBottleneck, [32, 5, 2]]", LayerKind::GhostBottleneck { c1: 64, c2: 32, k: 5, s: 2 }),
        (
            "[-1, 2, C2fGhost, [32, True]]",
            LayerKind::CspVariant { kind: CspVariant::C2fGhost, c1: 64, c2: 32, n: 2, shortcut: true, g: 1, e: 0.5 },
        ),
        (
            "[-1, 1, C3, [32]]",
            LayerKind::CspVariant { kind: CspVariant::C3, c1: 64, c2: 32, n: 1, shortcut: true, g: 1, e: 0.5 },
        ),
        (
            "[-1, 1, C2f, [32]]",
            LayerKind::CspVariant { kind: CspVariant::C2f, c1: 64, c2: 32, n: 1, shortcut: false, g: 1, e: 0.5 },
        ),
        ("[-1, 1, SPPF, [32]]", LayerKind::Sppf { c1: 64, c2: 32, k: 5 }),
        ("[-1, 1, nn.Upsample, [None, 3, nearest]]", LayerKind::Upsample { scale: 3. }),
        // Ultralytics scales channels that happen to be the class count too: 5 becomes 8.
        ("[-1, 1, Conv, [nc]]", LayerKind::Conv { c1: 64, c2: 8, k: [1, 1], s: 1, p: None, g: 1, d: 1, act }),
    ] {
        assert_eq!(module(row), expected, "{row}");
    }
}

#[test]
fn activations_are_pythons_and_unknown_ones_are_listed() {
    for (text, expected) in [
        ("nn.SiLU()", Activation::Silu),
        ("torch.nn.ReLU(inplace=True)", Activation::Relu),
        ("nn.ReLU6()", Activation::Relu6),
        ("nn.LeakyReLU(0.1)", Activation::LeakyRelu(0.1)),
        ("nn.LeakyReLU(negative_slope=0.2, inplace=True)", Activation::LeakyRelu(0.2)),
        ("nn.LeakyReLU()", Activation::LeakyRelu(0.01)),
        ("nn.Hardswish()", Activation::HardSwish),
        ("nn.Hardsigmoid()", Activation::HardSigmoid),
        ("nn.Sigmoid()", Activation::Sigmoid),
        ("nn.GELU()", Activation::Gelu),
        ("nn.Identity()", Activation::Identity),
    ] {
        let def =
            parse(&SMALL.replacen("nc: 5", &format!("nc: 5\nactivation: {text}"), 1).replace("[-1, 0]", "[1, 1]"));
        assert_eq!(def.expect("a model").activation, expected, "{text}");
    }
    let error = problem(parse(&format!("activation: nn.Mish()\n{SMALL}")));
    assert!(error.starts_with("key `activation`: `Mish()` is not known; known are nn.SiLU, ReLU"), "{error}");
}

#[test]
fn a_tree_from_a_checkpoint_reads_as_its_text_does() {
    let text = SMALL.replace("[-1, 0]", "[1, 1]");
    let tree = serde_json::json!({
        "nc": 5, "scale": "", "yaml_file": "mine.yaml", "ch": 3,
        "scales": {"n": [0.33, 0.25, 1024], "m": [0.67, 0.75, 100]},
        "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 3, "C2f", [128, true]]],
        "head": [[-1, 1, "nn.Upsample", ["None", 2, "nearest"]], [[1, 1], 1, "Concat", [1]], [[1], 1, "Detect", ["nc"]]]
    });
    assert_eq!(ModelConfig::from_value(&tree, None, None), parse(&text));
}

#[test]
fn faults_name_the_layer_what_is_wrong_and_what_is_allowed() {
    for (row, expected) in [
        ("[-1, 1, C9, [64]]", "layer 1 (C9): this module is not known; known are Conv, DWConv, GhostConv"),
        ("[-1, 1, Conv]", "layer 1 (?): a row is [from, repeats, module, arguments]"),
        ("[-1, 1, 7, [64]]", "layer 1 (?): 7 is no module's name"),
        ("[-1, 1, Conv, 64]", "layer 1 (Conv): its arguments are no list"),
        ("[3, 1, Conv, [64]]", "layer 1 (Conv): from is 3, and only layers before it can be read"),
        ("[1, 1, Conv, [64]]", "layer 1 (Conv): from is 1, and only layers before it can be read"),
        ("[-5, 1, Conv, [64]]", "layer 1 (Conv): from is -5, and only layers before it can be read"),
        ("[up, 1, Conv, [64]]", "layer 1 (Conv): from is \"up\" and must be a whole number or a list of them"),
        ("[[], 1, Concat, [1]]", "layer 1 (Concat): it reads no layer"),
        ("[[0, 0], 1, Conv, [64]]", "layer 1 (Conv): it reads one layer"),
        ("[-1, 0, Conv, [64]]", "layer 1 (Conv): repeats must be a whole number from 1 to 1000"),
        ("[-1, 2, Conv, [32]]", "layer 1 (Conv): a repeated module must keep its channels"),
        ("[-1, 2, nn.Upsample, [None, 2]]", "layer 1 (nn.Upsample): it cannot be repeated"),
        ("[-1, 1, Conv, []]", "layer 1 (Conv): argument 0 is missing"),
        ("[-1, 1, Conv, [-64]]", "layer 1 (Conv): argument 0 is -64 and must be a whole number from 1 to 65536"),
        ("[-1, 1, Conv, [64, 3, 2, None, 1, 1, True, 9]]", "layer 1 (Conv): it has 8 arguments and can have at most 7"),
        ("[-1, 1, Conv, [64, 3, 2, None, 7]]", "layer 1 (Conv): 64 channels do not split into 7 groups"),
        ("[-1, 1, GhostBottleneck, [32]]", "layer 1 (GhostBottleneck): at stride 1 it keeps its channels"),
        ("[-1, 1, GhostBottleneck, [64, 3, 3]]", "layer 1 (GhostBottleneck): its stride is 3 and must be 1 or 2"),
        ("[-1, 1, Conv, [64, 3, 0]]", "layer 1 (Conv): argument 2 is 0 and must be a whole number from 1 to 65536"),
        ("[-1, 1, C2f, [64, maybe]]", "layer 1 (C2f): argument 1 is \"maybe\" and must be True or False"),
        ("[-1, 1, C2f, [64, True, 1, 0]]", "layer 1 (C2f): argument 3 is"),
        ("[-1, 1, nn.Upsample, [None, 2, bilinear]]", "layer 1 (nn.Upsample): mode \"bilinear\" is not supported"),
        ("[-1, 1, nn.Upsample, [64, 2]]", "layer 1 (nn.Upsample): a fixed size is not supported"),
        ("[-1, 1, Concat, [2]]", "layer 1 (Concat): dimension 2 is not supported: channels are dimension 1"),
        ("[-1, 1, Detect, [9]]", "layer 1 (Detect): it has 9 classes where the model has 5"),
        ("[-1, 1, Detect, [nc]]", "key `head`: its last row, and no other, must be Detect"),
    ] {
        let error = problem(with_row(row));
        assert!(error.starts_with(expected), "{row}: {error}");
    }
    for (text, expected) in [
        (SMALL.to_owned(), "layer 3 (Concat): the layers it reads have strides [1.0, 2.0]; they must be equal"),
        (SMALL.replace("nc: 5", ""), "key `nc`: a number of classes is needed"),
        (SMALL.replace("nc: 5", "nc: 0"), "key `nc`: at least one class is needed"),
        (SMALL.replace("backbone", "spine"), "key `backbone`: a list of rows is needed"),
        (SMALL.replace("0.25, 1024", "-1, 1024"), "key `scales`: depth and width must lie in (0, 16]"),
        (format!("ch: 1\n{SMALL}"), "key `ch`: only 3 is supported"),
        (format!("reg_max: 1\n{SMALL}"), "key `reg_max`: only 16 is supported"),
        (format!("end2end: True\n{SMALL}"), "key `end2end`: only False is supported"),
        ("nc: [".to_owned(), "this is no YAML: "),
        (String::new(), "this is no YAML: 0 documents"),
    ] {
        let error = problem(parse(&text));
        assert!(error.starts_with(expected), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", row in r"\[-?[0-9]{1,2}, [0-9]{1,4}, (Conv|C2f|SPPF|GhostConv|Concat|nn.Upsample), \[[-0-9a-zN\[\]., ]{0,20}\]\]") {
        let _ = parse(&text);
        let _ = with_row(&row);
    }
}
