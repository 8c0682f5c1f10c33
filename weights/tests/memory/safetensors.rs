//! safetensors: headers that describe much in few bytes.

use super::{alone, hold};

/// A file of this header, with as many zeros behind it.
fn file(header: &str, zeros: usize) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; zeros]].concat()
}

fn tensors(count: usize, bytes: usize, prefix: &str) -> Vec<u8> {
    let one = |i: usize| {
        let (start, end) = (i * bytes, (i + 1) * bytes);
        format!(r#""{prefix}{i}":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[{start},{end}]}}"#)
    };
    let header: Vec<String> = (0..count).map(one).collect();
    file(&format!("{{{}}}", header.join(",")), count * bytes)
}

#[test]
fn a_header_takes_twice_the_file_and_64_mb_whatever_it_says() {
    let _alone = alone();
    const WEIGHT: &str = r#""w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let with = |more: &str| file(&format!("{{{more},{WEIGHT}}}"), 1);
    let ones = "1,".repeat(3_000_000);
    let described = |metadata: &str| with(&format!(r#""__metadata__":{{"ghostzoo":{}}}"#, serde_json::json!(metadata)));
    let many: Vec<String> = (0..600_000).map(|i| format!(r#""{i}":"""#)).collect();
    let same = r#""w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"#.repeat(100_000);
    let cases = vec![
        ("three million sides", with(&format!(r#""a":{{"dtype":"U8","shape":[{ones}1],"data_offsets":[0,0]}}"#))),
        ("100000 empty tensors", tensors(100_000, 0, "")),
        ("200000 empty tensors", tensors(200_000, 0, "")),
        ("one name 200000 times", file(&format!("{{{same}{WEIGHT}}}"), 1)),
        ("a name of wrappers", file(&format!("{{{}}}", WEIGHT.replacen('w', &"module.".repeat(3_000_000), 1)), 1)),
        ("an escaped name", file(&format!("{{{}}}", WEIGHT.replacen('w', &r"\n".repeat(10_000_000), 1)), 1)),
        ("an unknown field", with(&format!(r#""a":{{"x":[{ones}1],"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))),
        ("many fields", with(&format!(r#""__metadata__":{{{}}}"#, many.join(",")))),
        ("names of classes", described(&format!(r#"{{"names":[{}""]}}"#, "\"\",".repeat(2_000_000)))),
        ("a tree as yaml", described(&format!(r#"{{"yaml":[{ones}1]}}"#))),
        ("arguments", described(&format!(r#"{{"train_args":{{{}}}}}"#, many.join(",")))),
    ];
    hold(cases, |path, bytes| std::fs::write(path, bytes).expect("written"), |_, _| {});
}

#[test]
fn a_large_file_that_was_cut_is_said_to_be() {
    let _alone = alone();
    let mut whole = tensors(1, 150 << 20, "w");
    let length = whole.len();
    whole.truncate(60 << 20);
    let cases = vec![("cut", whole)];
    hold(
        cases,
        |path, bytes| std::fs::write(path, bytes).expect("written"),
        |what, result| {
            let error = result.expect_err(what).to_string();
            assert!(error.contains(&format!("{} of its {length} bytes are there", 60 << 20)), "{error}");
        },
    );
}

#[test]
fn a_config_beside_a_file_takes_no_more() {
    let _alone = alone();
    let ones = "1,".repeat(2_000_000);
    let cases = vec![("a long config", format!(r#"{{"architecture":"ghostnet_100","a":[{ones}1]}}"#))];
    let weight = r#"{"conv_stem.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    hold(
        cases,
        |path, config| {
            std::fs::write(path, file(weight, 1)).expect("written");
            std::fs::write(path.with_file_name("config.json"), config).expect("written");
        },
        |what, result| assert!(result.is_ok(), "{what}"),
    );
}

#[test]
fn headers_of_as_many_tensors_as_models_have_are_read() {
    let _alone = alone();
    let cases = vec![
        ("20000 small tensors", (20_000, tensors(20_000, 4, "model.layers.17.mlp.experts.up_proj.weight_"))),
        ("100000 tensors", (100_000, tensors(100_000, 100, "model.layers.17.mlp.experts.up_proj.weight_"))),
    ];
    let count = |what: &str| what.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count");
    hold(
        cases,
        |path, (_, bytes)| std::fs::write(path, bytes).expect("written"),
        |what, result| {
            let tensors = result.unwrap_or_else(|error| panic!("{what}: {error}")).tensors.len();
            assert_eq!(tensors, count(what), "{what}");
        },
    );
}
