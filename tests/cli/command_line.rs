//! What the command line takes and tells, whatever the command: names of any bytes, options, completions, manual pages.

use crate::support::{CommandOutput, TestDir};

/// The commands that help lists.
const COMMANDS: [&str; 18] = [
    "detect",
    "track",
    "classify",
    "train",
    "train-detect",
    "train-classify",
    "val",
    "eval",
    "merge",
    "summary",
    "bench",
    "models",
    "pull",
    "convert",
    "prune",
    "quantize",
    "publish",
    "completions",
];

/// A shipped detector in a file of our own, and an image.
fn place() -> TestDir {
    let place = TestDir::new();
    place.run("convert yolov8n-ghostnet-bccd m.safetensors --quiet").succeeded();
    place.image("a.png", [96, 64], 1);
    place
}

fn ended(output: std::process::Output) -> CommandOutput {
    CommandOutput {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[cfg(target_os = "linux")]
mod bytes {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    /// Runs the words between blanks, where `%` stands for the byte E9 and `$` for E8.
    fn run(place: &TestDir, words: &str) -> CommandOutput {
        let mut command = place.command("");
        command.args(words.split(' ').map(|word| OsStr::from_bytes(&named(word)).to_owned()));
        ended(command.output().unwrap())
    }

    fn named(word: &str) -> Vec<u8> {
        let byte = |byte| match byte {
            b'%' => 0xe9,
            b'$' => 0xe8,
            byte => byte,
        };
        word.bytes().map(byte).collect()
    }

    /// The place with each file a second time, under a name that is not UTF-8.
    fn place() -> TestDir {
        let place = super::place();
        let path = |name: &str| place.path("").join(OsStr::from_bytes(&named(name)));
        for (from, to) in [("m.safetensors", "m%.safetensors"), ("a.png", "in%/caf%.png"), ("a.png", "in%/caf$.png")] {
            std::fs::create_dir_all(path(to).parent().unwrap()).unwrap();
            std::fs::copy(place.path(from), path(to)).unwrap();
        }
        std::fs::write(path("list%.txt"), named("in%/caf%.png\nin%\n")).unwrap();
        place
    }

    /// The files of a folder, as they are.
    fn files(place: &TestDir, folder: &str) -> Vec<Vec<u8>> {
        let folder = std::fs::read_dir(place.path("").join(OsStr::from_bytes(&named(folder)))).unwrap();
        let mut names: Vec<_> = folder.map(|file| file.unwrap().file_name().as_bytes().to_vec()).collect();
        names.sort();
        names
    }

    #[test]
    fn sources_that_are_not_utf_8_work_in_every_form_and_are_told_apart() {
        let place = place();
        let rest = "--json --no-save --imgsz 64 -m m.safetensors";
        let (one, two) = (r"in\xE9/caf\xE9.png", r"in\xE9/caf\xE8.png");
        for (sources, expected) in [
            ("in%/caf%.png", &[one][..]),
            ("source=in%/caf%.png", &[one]),
            ("--source in%/caf%.png", &[one]),
            ("--source=in%/caf%.png", &[one]),
            ("in%", &[two, one]),
            ("in%/caf%*", &[one]),
            ("in%/*", &[two, one]),
            ("list%.txt", &[one, two, one]),
        ] {
            let found = run(&place, &format!("detect {sources} {rest}")).succeeded().json();
            let paths: Vec<&str> = found.iter().map(|line| line["path"].as_str().unwrap()).collect();
            assert_eq!(paths, expected, "{sources}");
        }
        let told = run(&place, "detect none%.png a.png --no-save --imgsz 64 -m m.safetensors");
        told.failed(1, &[r"error: none\xE9.png: there is no such file"]);
        let told = run(&place, "detect in%/caf%.png --no-save --imgsz 64 -m m.safetensors").succeeded();
        assert!(told.stdout.starts_with(&format!("image 1/1 {one}: ")), "{}", told.stdout);
        let told = run(&place, "classify in%/caf% in%/caf%.png --json -m ghostnet_050-cifar10");
        assert_eq!(told.failed(1, &["no such file"]).json()[1]["path"], one);
    }

    #[test]
    fn what_is_saved_of_names_that_are_not_utf_8_has_their_bytes() {
        let place = place();
        let run = |words: &str| run(&place, words).succeeded();
        run(
            "detect source=in% model=m%.safetensors project=runs% name=n$ conf=0 max_det=2 imgsz=64 save_txt --save-crop",
        );
        assert_eq!(files(&place, "runs%/n$"), [&b"caf\xe8.png"[..], b"caf\xe9.png", b"crops", b"labels"]);
        assert_eq!(files(&place, "runs%/n$/labels"), [b"caf\xe8.txt", b"caf\xe9.txt"]);
        let class = place.path("").join(OsStr::from_bytes(&named("runs%/n$/crops")));
        let class = std::fs::read_dir(class).unwrap().next().unwrap().unwrap().file_name();
        let crops = files(&place, &format!("runs%/n$/crops/{}", class.to_str().unwrap()));
        assert!(crops.iter().all(|name| name.starts_with(b"caf")) && crops.len() >= 2, "{crops:?}");
        let told = run("detect in% -m m.safetensors --save-dir o% --imgsz 64 --csv --coco-json --conf 0 --max-det 1");
        assert!(told.stdout.contains(r"in\xE9/caf\xE8.png,96,64,"), "{}", told.stdout);
        assert_eq!(told.stderr, "note: results saved to o\\xE9\n");
        let results: serde_json::Value = serde_json::from_slice(
            &std::fs::read(place.path("").join(OsStr::from_bytes(&named("o%/predictions.json")))).unwrap(),
        )
        .unwrap();
        assert_eq!(results[0]["image_id"], r"caf\xE8");
    }

    #[test]
    fn every_option_that_names_a_file_takes_a_name_that_is_not_utf_8() {
        let place = place();
        let run = |words: &str| run(&place, words).succeeded();
        run("convert m%.safetensors n%.safetensors");
        let rows = run("summary --json n%.safetensors m.safetensors --arch yolov8n-ghostnet").json();
        assert_eq!((&rows[0]["model"], &rows[0]["parameters"]), (&r"n\xE9.safetensors".into(), &rows[1]["parameters"]));
        let timed = run("bench -m m%.safetensors --runs 1 --imgsz 32 --json").json();
        assert_eq!(timed[0]["model"], r"m\xE9.safetensors");
        place.write("data.yaml", "val: in\nnames: [RBC, WBC, Platelets]\n");
        let set = place.path("").join(OsStr::from_bytes(&named("set%")));
        std::fs::create_dir_all(set.join("in")).unwrap();
        std::fs::copy(place.path("a.png"), set.join("in").join(OsStr::from_bytes(&named("caf%.png")))).unwrap();
        std::fs::write(set.join("in").join(OsStr::from_bytes(&named("caf%.txt"))), "0 .5 .5 .2 .2\n").unwrap();
        std::fs::rename(place.path("data.yaml"), set.join("data.yaml")).unwrap();
        let found =
            run("val --data set%/data.yaml -m m%.safetensors --imgsz 64 --json --plots false --save-json").json();
        assert_eq!(found.len(), 1);
        std::fs::create_dir_all(set.join("classes/0")).unwrap();
        std::fs::copy(place.path("a.png"), set.join("classes/0/a.png")).unwrap();
        std::fs::write(set.join("valid"), "0\n1\n").unwrap();
        run("convert ghostnet_050-cifar10 c%.safetensors");
        let evaluated =
            run("eval data=set%/classes model=c%.safetensors --valid-labels set%/valid --label-order index \
             --results-file r%.csv --confusion c%.csv --part p%.json --json");
        assert_eq!(evaluated.json()[0]["pictures"], 1);
        run("merge p%.json --results-file s%.json");
    }

    #[test]
    fn what_must_be_text_is_refused_by_name() {
        let place = place();
        for (words, argument) in [
            ("detect in%/caf%.png --conf %", r"the argument `%` is not UTF-8, and what it is given for takes text"),
            (
                "detect in%/caf%.png conf=0.%",
                r"the argument `--conf=0.%` is not UTF-8, and what it is given for takes text",
            ),
            ("detect a.png --classes caf%", r"the argument `caf%` is not UTF-8, and what it is given for takes text"),
            ("--device c% detect a.png", r"the argument `c%` is not UTF-8, and what it is given for takes text"),
            ("pull m%", r"the argument `m%` is not UTF-8, and what it is given for takes text"),
            ("train detect data=d% epochs=1", r"the argument `--data=d%` is not UTF-8, and a training keeps"),
            ("train detect --data d.yaml --name n%", r"the argument `n%` is not UTF-8, and "),
            ("train classify cfg=a%.yaml", r"cannot read --cfg a"),
        ] {
            let ran = run(&place, words);
            let part = argument.replace('%', r"\xE9");
            let code = if words.contains("cfg") { 1 } else { 2 };
            ran.failed(code, &[&part]);
        }
        let mut command = place.command("train detect --data data.yaml --epochs 1");
        std::fs::write(
            place.path("").join(OsStr::from_bytes(&named("in%/data.yaml"))),
            "train: .\nval: .\nnames: [a]\n",
        )
        .unwrap();
        command.current_dir(place.path("").join(OsStr::from_bytes(&named("in%"))));
        ended(command.output().unwrap())
            .failed(2, &["a training keeps its arguments as text, the folders above --data too"]);
        run(&place, "detect a.png -m none%.pt").failed(2, &[r"no such file: none\xE9.pt"]);
    }
}

#[cfg(unix)]
#[test]
fn names_with_control_characters_cannot_steer_a_terminal() {
    let place = place();
    let name = "a\u{1b}[31m\u{9b}.png";
    std::fs::rename(place.path("a.png"), place.path(name)).unwrap();
    let detect = |more: &[&str]| {
        let mut command = place.command("detect -m m.safetensors --imgsz 64 --no-save");
        ended(command.args(more).output().unwrap())
    };
    let found = detect(&[name, "none\u{1b}.png"]);
    assert!(found.stdout.starts_with(r"image 1/2 a\u{1b}[31m\u{9b}.png: "), "{}", found.stdout);
    assert!(found.stderr.contains(r"error: none\u{1b}.png: "), "{}", found.stderr);
    let json = detect(&[name, "--json"]);
    assert_eq!(json.json()[0]["path"], name);
    for text in [found.stdout, found.stderr, json.stdout] {
        assert!(!text.contains(|given: char| given.is_control() && given != '\n'), "{text:?}");
    }
}

#[test]
fn class_names_of_any_length_become_folders_that_stay_apart() {
    use ghostzoo_weights::{read, write};
    let place = place();
    let mut checkpoint = read(&place.path("m.safetensors")).unwrap();
    let long = "\u{1f9a0}".repeat(100);
    checkpoint.metadata.names = Some(vec![format!("{long}1"), format!("{long}2"), format!("{long}3")]);
    write(&place.path("long.safetensors"), &checkpoint).unwrap();
    place
        .run("detect a.png -m long.safetensors --imgsz 64 --conf 0 --iou 1 --save-crop --no-save --save-dir o")
        .succeeded();
    let folders = std::fs::read_dir(place.path("o/crops")).unwrap();
    let folders: Vec<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert!(folders.len() > 1, "several classes: {folders:?}");
    assert!(folders.iter().all(|name| name.len() <= 200 && name.starts_with("\u{1f9a0}")), "{folders:?}");
}

#[test]
fn where_images_are_saved_is_said_beside_what_programs_read() {
    let place = place();
    for (more, said) in [
        ("--json", "note: results saved to runs/detect/predict\n"),
        ("--csv", "note: results saved to runs/detect/predict-2\n"),
        ("--json --no-save --coco-json --save-dir o", "note: results saved to o\n"),
        ("--json --no-save", ""),
        ("--json --quiet", ""),
    ] {
        let ran = place.run(&format!("detect a.png -m m.safetensors --imgsz 64 {more}")).succeeded();
        assert_eq!(ran.stderr, said, "{more}");
        assert!(!ran.stdout.contains("saved"), "{}", ran.stdout);
    }
}

#[test]
fn options_without_a_meaning_are_taken_with_a_note() {
    let place = place();
    let ran = place.run("--threads 1 models --device cpu").succeeded();
    assert_eq!(ran.stderr, "note: --device means nothing to `models`\nnote: --threads means nothing to `models`\n");
    let ran = place.run("--device cpu convert m.safetensors n.safetensors --dtype f16").succeeded();
    assert_eq!(ran.stderr, "note: --device means nothing to `convert`\n");
    assert_eq!(place.run("--threads 1 models --device cpu --quiet").succeeded().stderr, "");
    let ran = place.run("bench");
    assert!(ran.code == 2 && ran.stderr.contains("--model <NAME|FILE>"), "{}", ran.stderr);
}

#[test]
fn of_files_with_several_frames_the_first_is_read_and_the_first_three_are_named() {
    let place = place();
    // Two frames of one pixel.
    let frame = b"\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0".as_slice();
    let gif = [b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".as_slice(), frame, frame, b";"].concat();
    (0..5).for_each(|i| drop(place.write(&format!("in/{i}.gif"), &gif)));
    for command in
        ["detect in a.png -m m.safetensors --imgsz 64 --no-save", "classify in a.png -m ghostnet_050-cifar10"]
    {
        let ran = place.run(command).succeeded();
        let named = (0..3).map(|i| format!("note: in/{i}.gif: the file has 2 frames or pages; the first is read\n"));
        let more = "note: of 2 more with several frames or pages the first is read\n";
        assert_eq!(ran.stderr, named.collect::<String>() + more, "{command}");
        assert_eq!(place.run(&format!("{command} --quiet")).succeeded().stderr, "");
    }
}

#[test]
fn completions_and_manual_pages_tell_of_every_command() {
    let place = TestDir::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&format!("completions {shell}")).succeeded().stdout;
        for command in COMMANDS {
            let last = command.rsplit('-').next().unwrap();
            assert!(script.contains(last), "{command} in {shell}");
        }
        assert!(script.contains("--save-crop") || script.contains("-l save-crop"), "{shell}");
    }
    let models = place.run("completions bash").succeeded().stdout;
    let models = models.split("ghostzoo__subcmd__models)").nth(1).and_then(|rest| rest.lines().nth(1)).unwrap();
    assert!(models.contains("--json --quiet") && !models.contains("--threads"), "{models}");
    let first = place.run("man").succeeded().stdout;
    assert!(first.contains(".TH ghostzoo 1"), "{first}");
    place.run("man pages").succeeded();
    let pages = place.files("pages");
    for command in COMMANDS {
        assert!(first.contains(command.split('-').next().unwrap()), "{command}");
        assert!(pages.contains(&format!("ghostzoo-{command}.1")), "{command} in {pages:?}");
    }
    assert_eq!(pages.len(), COMMANDS.len() + 2, "those, ghostzoo.1 and ghostzoo-man.1: {pages:?}");
    let page = place.read("pages/ghostzoo-train-detect.1");
    assert!(page.contains(r"ghostzoo train detect") && page.contains("close"), "{page}");
    assert!(!place.read("pages/ghostzoo-models.1").contains("threads"));
}

#[test]
fn the_form_of_yolo_with_task_and_mode_works() {
    let place = place();
    let ran = place.run("detect predict source=a.png model=m.safetensors imgsz=64 save=False --json").succeeded();
    assert_eq!(ran.json()[0]["path"], "a.png");
    place.run("detect predict sorce=a.png").failed(2, &["sorce=a.png", "did you mean `source`?"]);
}
