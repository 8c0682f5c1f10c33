use super::*;
use crate::yaml::row::Csp;

fn parse(text: &str, file_name: Option<&str>) -> Result<ModelDef, YamlError> {
    ModelDef::from_yaml(text, file_name, None)
}

const SMALL: &str = "
nc: 4
scales: {n: [0.5, 0.5, 64], s: [1.0, 1.0, 512]}
backbone:
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 3, C2f, [128, True]]
head:
  - [-1, 1, nn.Upsample, [None, 2, 'nearest']]
  - [[1], 1, Detect, [nc]]
";

#[test]
fn the_scale_comes_from_the_file_name_else_the_key_else_the_first() {
    let channels = |def: ModelDef| (def.scale, def.rows[1].channels);
    assert_eq!(channels(parse(SMALL, None).expect("valid")), (Some('n'), 32), "at most 64, then halved");
    assert_eq!(channels(parse(SMALL, Some("mine/yolov8s-x.yaml")).expect("valid")), (Some('s'), 128));
    assert_eq!(channels(parse(&format!("scale: s\n{SMALL}"), None).expect("valid")), (Some('s'), 128));
    assert!(parse(SMALL, Some("yolov8x.yaml")).is_err(), "a scale that the yaml lacks");
    for (name, letter) in
        [("yolov8n", Some('n')), ("yolov8-ghost", None), ("yolov8nano", None), ("a/yolov10m.yaml", Some('m'))]
    {
        assert_eq!(scale_letter(name), letter, "{name}");
    }
}

#[test]
fn repeats_round_to_even_and_channels_up_to_eights() {
    let text = "
nc: 1
depth_multiple: 0.5
width_multiple: 0.3
backbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 5, C3, [64, False]], [-1, 3, Bottleneck, [64]]]
head: [[[0, 2], 1, Concat, [1]], [[3], 1, Detect, [nc]]]
";
    // Layers 0 and 2 have one stride.
    let def = parse(text, None).expect("valid");
    assert_eq!(def.rows[0].channels, 24, "19.2 rounds up to a multiple of 8");
    assert_eq!(def.rows[1].module, Module::Csp { kind: Csp::C3, c1: 24, c2: 24, n: 2, shortcut: false, g: 1, e: 0.5 });
    assert_eq!(def.rows[2].repeats, 2, "1.5 rounds to 2, 2.5 of the row before to 2");
    assert_eq!((def.rows[3].channels, def.rows[3].stride), (48, 2.));
}

#[test]
fn the_yamls_activation_holds_for_every_layer_that_names_none() {
    let def = parse(&format!("activation: nn.LeakyReLU(0.1)\n{SMALL}"), None).expect("valid");
    assert_eq!(def.activation, Activation::LeakyRelu(0.1));
    assert!(matches!(def.rows[0].module, Module::Conv { act: Activation::LeakyRelu(0.1), .. }));
}

#[test]
fn what_is_wrong_is_named_with_its_row() {
    let row =
        |row: &str| format!("nc: 2\nbackbone: [[-1, 1, Conv, [16, 3, 2]], {row}]\nhead: [[[-1], 1, Detect, [nc]]]");
    let cases = [
        ("a: [".to_owned(), "YAML"),
        ("nc: 2".to_owned(), "`backbone`"),
        ("backbone: []\nhead: []".to_owned(), "`nc`"),
        ("nc: 2\nbackbone: [[-1, 1, Conv, [16]]]\nhead: []".to_owned(), "Detect"),
        (format!("activation: nn.Mish()\n{SMALL}"), "nn.SiLU"),
        (row("[-1, 1, C9, [16]]"), "layer 1 (C9)"),
        (row("[-1, 1, Conv, []]"), "argument 0 is missing"),
        (row("[-1, 1, Conv, [16, 3, 0]]"), "argument 2"),
        (row("[3, 1, Conv, [16]]"), "layers before it"),
        (row("[-5, 1, Conv, [16]]"), "layers before it"),
        (row("[-1, 0, Conv, [16]]"), "repeats"),
        (row("[-1, 1, nn.Upsample, [None, 2, bilinear]]"), "nearest"),
        (row("[-1, 1, GhostBottleneck, [16, 3, 3]]"), "stride is 3"),
        (row("[[-1, 0], 1, Conv, [16]]"), "reads one layer"),
        (row("[-1, 2, Conv, [32]]"), "keep its channels"),
        (row("[-1, 1, Conv, [32, 3, 2]], [[0, 1], 1, Concat, [1]]"), "strides"),
    ];
    for (text, part) in cases {
        let error = parse(&text, None).expect_err(&text).to_string();
        assert!(error.contains(part), "{error} lacks {part}");
    }
}
