//! The binary, images and checkpoints for the tests of the command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use candle_core::{DType, Device, Tensor};
use candle_vision::spec::ParamSpec;
use image::RgbImage;
use serde_json::Value;

/// A detector of few weights, to test the run around it.
pub(crate) const TINY_DETECTOR: &str = "nc: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
";

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// The lines of stdout.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The objects of stdout, one per line; anything else on it fails.
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        self.stdout.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails unless the run ended with `code` and one line on stderr that holds each of `parts`.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {}", self.stderr);
        }
        self
    }
}

/// A folder of a test's own, in which the binary runs, apart from the user's cache and from any network.
pub(crate) struct TestDir(tempfile::TempDir);

impl TestDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The binary with blank-separated arguments; stack traces are on, as they are on many machines.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghostzoo"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HF_") || name == "HUGGING_FACE_HUB_TOKEN" {
                command.env_remove(name);
            }
        }
        command.env("HF_HOME", self.path("hf")).env("HF_HUB_OFFLINE", "1").env("RUST_BACKTRACE", "1");
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> CommandOutput {
        run(self.command(arguments), b"")
    }

    pub(crate) fn run_with_stdin(&self, arguments: &str, stdin: &[u8]) -> CommandOutput {
        run(self.command(arguments), stdin)
    }

    /// Writes an image of `[width, height]`; images of different seeds differ.
    pub(crate) fn image(&self, name: &str, [width, height]: [u32; 2], seed: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let level = |x: u32, y: u32, c: u32| ((x * (3 + seed) + y * (5 + c) + (x * y / 7) * (seed + c)) % 256) as u8;
        RgbImage::from_fn(width, height, |x, y| image::Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]))
            .save(&path)
            .unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The tensors of a safetensors file, byte for byte; its header, which may name the run, is left out.
    pub(crate) fn tensors(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let bytes = std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
    }

    /// The files below a folder, sorted, with `/` between the parts.
    pub(crate) fn files(&self, name: &str) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() { walk(&entry.path(), &format!("{name}/"), out) } else { out.push(name) }
            }
        }
        let mut out = Vec::new();
        walk(&self.path(name), "", &mut out);
        out.sort();
        out
    }
}

fn run(mut command: Command, stdin: &[u8]) -> CommandOutput {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // A command that refuses early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    CommandOutput {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Seeded values for every tensor of a model; a classifier begins with `conv_stem`.
pub(crate) fn seeded_tensors(spec: &ParamSpec) -> BTreeMap<String, Tensor> {
    let is_classifier = spec.shapes.contains_key("conv_stem.weight");
    let value = if is_classifier { candle_ghostnet::seeded::tensor } else { candle_yolov8::seeded::tensor };
    let tensor = |(name, shape): (&String, &candle_core::Shape)| {
        let tensor = value(name, shape, DType::F32, &Device::Cpu).unwrap();
        (name.clone(), tensor)
    };
    spec.shapes.iter().map(tensor).collect()
}
