use anyhow::{Context, bail};
use clap::FromArgMatches;
use serde_json::Value;

use super::*;
use crate::cli::{Cli, Command, DetectTrainArgs, TrainTask, command};

fn line(text: &str) -> Result<String> {
    Ok(as_options(text.split(' ').map(str::to_owned), &command())?.join(" "))
}

#[test]
fn keys_of_yolo_become_options() -> Result<()> {
    for (text, expected) in [
        ("ghostzoo train detect data=a/b.yaml lr0=0.01", "ghostzoo train detect --data=a/b.yaml --lr0=0.01"),
        ("ghostzoo train detect --close_mosaic 5 hsv_h=.1", "ghostzoo train detect --close-mosaic 5 --hsv-h=.1"),
        ("ghostzoo --quiet train detect cos_lr=True", "ghostzoo --quiet train detect --cos-lr=true"),
        ("ghostzoo train detect --data ./x=y.yaml", "ghostzoo train detect --data ./x=y.yaml"),
        ("ghostzoo train detect --name=a_b model=C:=x", "ghostzoo train detect --name=a_b --model=C:=x"),
        ("ghostzoo train detect amp=False epochs=3 save=True", "ghostzoo train detect --epochs=3"),
        ("ghostzoo train detect amp=True save_period=-1", "ghostzoo train detect --save-period=-1"),
        ("ghostzoo train classify amp=False half=False", "ghostzoo train classify"),
        ("ghostzoo detect a_b=c.jpg", "ghostzoo detect a_b=c.jpg"),
        ("ghostzoo bench --model train", "ghostzoo bench --model train"),
        (
            "ghostzoo train detect resume model=r/weights/last.pt",
            "ghostzoo train detect --resume=true --model=r/weights/last.pt",
        ),
        (
            "ghostzoo train detect --name plots exist_ok plots",
            "ghostzoo train detect --name plots --exist-ok=true --plots=true",
        ),
        (
            "ghostzoo train detect --name amp lr0 = 0.1 epochs= 3",
            "ghostzoo train detect --name amp --lr0=0.1 --epochs=3",
        ),
        ("ghostzoo train detect freeze=[5] epochs=1e2", "ghostzoo train detect --freeze=5, --epochs=100"),
        ("ghostzoo train detect freeze=[0, '22.cv2']", "ghostzoo train detect --freeze=0,22.cv2,"),
        ("ghostzoo train detect freeze=10 name=True", "ghostzoo train detect --freeze=10 --name=True"),
        ("ghostzoo train detect batch=-1 device=0", "ghostzoo train detect --auto-batch=0.6 --device=0"),
        ("ghostzoo train detect batch=0.7 device=[0]", "ghostzoo train detect --auto-batch=0.7 --device=0"),
        ("ghostzoo train detect batch=8 device=mps", "ghostzoo train detect --batch=8 --device=metal"),
        ("ghostzoo train detect device=None workers=8", "ghostzoo train detect --workers=8"),
        ("ghostzoo --quiet train detect verbose=False imgsz=[640,480]", "ghostzoo --quiet train detect --imgsz=640"),
        ("ghostzoo train detect verbose=False time=None", "ghostzoo train detect --quiet"),
    ] {
        assert_eq!(line(text)?, expected, "{text}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    for (text, part) in [
        ("ghostzoo train detect amp=bf16", "amp=bf16 is not done here"),
        ("ghostzoo train detect device=0,1", "one device"),
        ("ghostzoo train detect compile", "compile=True is not done here"),
        ("ghostzoo train detect cfg=nowhere.yaml", "cannot read --cfg nowhere.yaml"),
        ("ghostzoo train detect task=classify", "task=classify"),
    ] {
        let error = line(text).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// What `train detect` with these words is told.
fn parsed(words: &str) -> Result<DetectTrainArgs> {
    let words = as_options(format!("ghostzoo --quiet train detect {words}").split(' ').map(str::to_owned), &command())?;
    let Command::Train(train) = Cli::from_arg_matches(&command().try_get_matches_from(words)?)?.command else {
        bail!("another command")
    };
    let TrainTask::Detect(args) = train.task else { bail!("another task") };
    Ok(*args)
}

/// Keys and defaults by `tests/oracle/train_run.py`.
#[test]
fn each_of_ultralytics_113_keys_is_taken_at_its_default_on_the_command_line_and_in_a_file() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/train/run.json"))?;
    let keys = golden["keys"].as_object().context("keys")?;
    assert_eq!(keys.len(), 113);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("args.yaml");
    let standing = parsed("data=d.yaml")?;
    let (mut all, mut whole_file) = (String::new(), String::new());
    for (key, value) in keys {
        let text = match value {
            Value::Null => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        std::fs::write(&file, format!("{key}: {value}\n"))?;
        for words in [format!("{key}={text}"), format!("cfg={}", file.display())] {
            let mut args = parsed(&format!("{words} --data d.yaml")).with_context(|| words.clone())?;
            // What is not given is decided by the machine here, and changes no weight.
            if key == "workers" {
                assert_eq!(args.run.workers.take(), Some(8));
            }
            if key == "resume" {
                assert_eq!(args.run.resume.take().as_deref(), Some("false"));
            }
            if key == "cache" {
                assert_eq!(std::mem::replace(&mut args.cache, "auto".to_owned()), "false");
            }
            assert_eq!(args, standing, "{words}");
        }
        all += &format!("{key}={text} ");
        whole_file += &format!("{key}: {value}\n");
    }
    std::fs::write(&file, whole_file)?;
    for words in [all.trim_end().to_owned(), format!("cfg={}", file.display())] {
        assert_eq!(parsed(&format!("{words} --data d.yaml workers=4"))?.run.workers, Some(4));
    }
    Ok(())
}

#[test]
fn a_file_stands_before_the_command_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("args.yaml");
    std::fs::write(&file, include_str!("../../../../tests/golden/train/ultralytics_args.yaml"))?;
    let words = line(&format!("ghostzoo train detect epochs=7 cfg={} --quiet", file.display()))?;
    let place = |part: &str| words.find(part).unwrap_or_else(|| panic!("{part} is not in {words}"));
    assert!(place("--epochs=4 ") < place("--epochs=7"), "{words}");
    for part in
        ["--model=yolov8n.yaml", "--data=set/data.yaml", "--imgsz=32", "--device=cpu", "--name=files", "--nbs=2"]
    {
        place(part);
    }
    for part in ["save_dir", "save-dir", "amp", "tracker", "=None", "=null", "=True"] {
        assert!(!words.contains(part), "{part} in {words}");
    }
    std::fs::write(&file, "epoch: 3\n")?;
    let error =
        line(&format!("ghostzoo train detect --cfg {}", file.display())).expect_err("a typing error").to_string();
    assert!(error.contains("a training has no `epoch`; did you mean `epochs`?"), "{error}");
    std::fs::write(&file, "- 3\n")?;
    assert!(line(&format!("ghostzoo train detect --cfg {}", file.display())).is_err());
    Ok(())
}
