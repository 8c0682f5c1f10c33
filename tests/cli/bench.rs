//! `bench` through the binary: what it prints, not how fast it is.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::TestDir;

#[test]
fn a_run_reports_its_times_and_its_share_of_the_machine() {
    let place = TestDir::new();
    let run = place.run("bench --model ghostnet_050 --imgsz 64 --batch 2 --runs 5 --threads 2 --json").succeeded();
    let report = &run.json()[0];
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} of {report}"));
    assert!(number("p10_ms") > 0. && number("p10_ms") <= number("median_ms"), "{report}");
    assert!(number("median_ms") <= number("p90_ms"), "{report}");
    assert!((number("images_per_second") * number("median_ms") / 2000. - 1.).abs() < 1e-6, "{report}");
    // Not known where another program has a part of the machine.
    let peak = report["machine_gflops_per_second"].as_f64();
    assert!(
        peak.map_or(report["machine_gflops_per_second"].is_null(), |peak| number("gflops_per_second") <= peak),
        "{report}"
    );
    assert_eq!((&report["threads"], &report["engine"]), (&2.into(), &"plan".into()));
    let text = place.run("bench --model ghostnet_050 --imgsz 64 --runs 3").succeeded();
    let said =
        |line: &str| line.contains("% of the machine's") || line.ends_with("peak not known on this machine right now");
    assert!(text.lines().iter().any(|line| said(line)), "{}", text.stdout);
    let last: f64 = text.lines().last().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(last > 0., "the last line ends with the median: {}", text.stdout);
}

#[test]
fn a_processor_that_multiplies_bf16_is_told_what_that_gains() {
    let place = TestDir::new();
    let bench =
        |arguments: &str| place.run(&format!("bench --model ghostnet_050 --imgsz 32 --runs 1 {arguments}")).succeeded();
    let told = |run: &crate::support::CommandOutput| run.stdout.contains("\nin bf16, which --dtype auto takes");
    assert!(told(&bench("--isa emulated-amx")));
    assert!(!told(&bench("--isa emulated-amx --dtype bf16")));
    assert!(!told(&bench("--isa portable")));
    let own = bench("--dtype auto --json").json();
    let multiplies = ["amx", "avx512-bf16"].contains(&own[0]["isa"].as_str().unwrap());
    assert_eq!(own[0]["dtype"], if multiplies { "bf16" } else { "f32" });
}

#[test]
fn every_engine_and_instruction_set_runs_and_others_are_refused() {
    let place = TestDir::new();
    for arguments in ["--engine stock", "--isa portable"] {
        place.run(&format!("bench --model yolov8n-ghostnet --imgsz 64 --runs 1 {arguments} --json")).succeeded();
    }
    for (arguments, part) in [("--model ghostnet_050 --isa mmx", "this machine runs portable"), ("", "--model")] {
        let ran = place.run(&format!("bench {arguments}"));
        assert!(ran.code == 2 && ran.stderr.contains(part), "{}", ran.stderr);
    }
    place.run("bench --model ghostnet_051").failed(2, &["ghostnet_051", "did you mean"]);
    place.run("bench --model ghostnet_050 --engine stock --profile").failed(1, &["--profile", "steps of a plan"]);
}

#[test]
fn the_profile_names_each_layer_and_its_kernel() {
    let table = TestDir::new().run("bench --model yolov8n --imgsz 64 --runs 1 --profile").succeeded();
    let row =
        |name: &str| table.lines().into_iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    assert!(row("model.0.conv ").contains("planar"), "{}", table.stdout);
    assert!(row("model.1.conv ").contains("gathered gemm"), "{}", table.stdout);
    assert!(row("model.4.m.0.cv1.conv ").contains("winograd 4x4"), "{}", table.stdout);
    assert!(row("model.22.cv3.2.2 ").contains("gemm"), "{}", table.stdout);
    // `detect` decodes the few boxes above its threshold behind the network.
    assert_eq!(table.lines().iter().filter(|line| line.starts_with("output ")).count(), 3, "{}", table.stdout);
}

#[test]
fn a_gpus_launches_are_counted_without_one() {
    let place = TestDir::new();
    let printed = place.run("bench --model ghostnet_100 --launches").succeeded();
    let lines = printed.lines();
    // 96 convolutions; a mean and a gate for each of 7 squeeze-and-excite layers, the mean before the head, the output.
    assert!(
        lines.iter().any(|line| line.starts_with("112 launches for 96 convolutions: 1.17 each")),
        "{}",
        printed.stdout
    );
    let all: Vec<&str> = lines.iter().find(|line| line.starts_with("all ")).unwrap().split_whitespace().collect();
    // Twice the multiply-accumulates by definition, and half of the bytes in half of the digits.
    let numbers = |all: &[&str]| [all[2], all[3]].map(|number| number.parse::<f64>().unwrap());
    let [mflop, mb] = numbers(&all);
    assert!((mflop - 282.3).abs() < 0.1, "{}", printed.stdout);
    let half = place.run("bench --model ghostnet_100 --launches --dtype f16").succeeded();
    let all: Vec<&str> =
        half.stdout.lines().find(|line| line.starts_with("all ")).unwrap().split_whitespace().collect();
    assert!((numbers(&all)[1] * 2. - mb).abs() <= 0.2, "{}", half.stdout);
    let both = place.run("bench --model ghostnet_100 --launches --profile");
    assert!(both.code == 2 && both.stderr.contains("'--launches' cannot be used with '--profile'"), "{}", both.stderr);
}

#[test]
fn a_training_step_reports_its_time_and_memory() {
    let place = TestDir::new();
    for (model, size) in [("yolov8n-ghostnet", 64), ("ghostnet_050", 64)] {
        let run = place.run(&format!("bench --train --model {model} --imgsz {size} --batch 2 --threads 2")).succeeded();
        let words: Vec<&str> = run.stdout.split_whitespace().collect();
        let expected = format!("step {model} batch 2 size {size} threads 2: peak");
        assert!(run.stdout.starts_with(&expected), "{}", run.stdout);
        let seconds: f64 = words.last().unwrap().parse().unwrap();
        assert!(seconds > 0. && run.lines().len() == 1, "{}", run.stdout);
    }
}

#[test]
fn turns_are_taken_line_by_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ghostzoo"))
        .args(["bench", "--model", "ghostnet_050", "--imgsz", "64", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"go\ngo\n").unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "ready"), "{output}");
    assert!(lines[1..].iter().all(|line| line.parse::<f64>().is_ok_and(|ms| ms > 0.)), "{output}");
}
