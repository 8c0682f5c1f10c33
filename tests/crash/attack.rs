//! The program in a folder of its own, below which an operation is struck.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::hub::{Answer, Server, hub_file};
use crate::support::TestDir;

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// What the shim does at the chosen operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    Nothing,
    Kill,
    HalfThenKill,
    /// Fails with an error's number, once or from then on.
    Error {
        code: i32,
        stays: bool,
    },
}

/// What the program did to a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) kind: String,
    pub(crate) bytes: usize,
    pub(crate) path: String,
}

/// What a run left behind.
pub(crate) struct Struck {
    /// None for SIGKILL.
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) operations: Vec<Operation>,
}

/// A folder whose state before a command can be put back, with a Hub that has one checkpoint.
pub(crate) struct Stage {
    pub(crate) place: TestDir,
    /// The folder by its whole path without links.
    pub(crate) root: PathBuf,
    /// What lies in the folder when a command starts.
    kept: BTreeMap<PathBuf, Vec<u8>>,
    /// What the undisturbed run leaves.
    pub(crate) expected: BTreeMap<String, Vec<u8>>,
    /// Whether a killed run lies in the folder at the start.
    pub(crate) is_cut: bool,
    outside: tempfile::TempDir,
    server: Server,
}

impl Stage {
    pub(crate) fn new(inputs: fn(&TestDir)) -> Self {
        let place = TestDir::new();
        inputs(&place);
        let root = place.path("").canonicalize().unwrap();
        let body: Vec<u8> = fs::read(root.join("c.safetensors")).unwrap_or_default();
        let config = br#"{"architecture": "ghostnet_050", "num_classes": 2}"#;
        let server = Server::start(move |_, request| match request.path.as_str() {
            "/me/ghost/resolve/main/c.safetensors" => hub_file(request, &body, "weights"),
            "/me/ghost/resolve/c0ffee/config.json" => hub_file(request, config, "config"),
            _ => Answer::new(404),
        });
        let (kept, expected) = (BTreeMap::new(), BTreeMap::new());
        let mut stage =
            Self { place, root, kept, expected, is_cut: false, outside: tempfile::tempdir().unwrap(), server };
        stage.keep();
        stage
    }

    /// A run that must succeed, before the folder's state is kept.
    pub(crate) fn prepare(&self, line: &str) {
        let ran = self.run(line, 0, Blow::Nothing);
        assert_eq!(ran.code, Some(0), "`{line}`: {}", ran.stderr);
    }

    /// Kills a run where it renames the file of this name for the given time, from 1.
    pub(crate) fn cut(&mut self, line: &str, (name, time): (&str, usize)) {
        let files = self.files();
        let whole = self.run(line, 0, Blow::Nothing);
        let renames = whole.operations.iter().filter(|done| done.kind == "rename" && done.path.ends_with(name));
        let number = renames.map(|done| done.number).nth(time - 1).expect("so many renames");
        self.put(&files);
        let struck = self.run(line, number, Blow::Kill);
        assert_eq!(struck.code, None, "`{line}`: {}", struck.stderr);
        self.is_cut = true;
    }

    /// Takes the folder's state as that from which each point begins.
    pub(crate) fn keep(&mut self) {
        self.kept = self.files();
    }

    pub(crate) fn restore(&self) {
        self.put(&self.kept);
    }

    /// What lay at a path below the folder at the start.
    pub(crate) fn kept(&self, path: &str) -> Option<&Vec<u8>> {
        self.kept.get(Path::new(path))
    }

    pub(crate) fn remember(&mut self, expected: BTreeMap<String, Vec<u8>>) {
        self.expected = expected;
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.place.files("");
        files.iter().map(|name| (PathBuf::from(name), fs::read(self.root.join(name)).unwrap())).collect()
    }

    fn put(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(&self.root).unwrap().flatten() {
            let is_folder = entry.file_type().unwrap().is_dir();
            if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }.unwrap();
        }
        for (name, bytes) in files {
            let path = self.root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Runs the program with a blow at an operation.
    pub(crate) fn run(&self, line: &str, number: usize, blow: Blow) -> Struck {
        let [log, stdout, stderr] = ["log", "stdout", "stderr"].map(|name| self.outside.path().join(name));
        let _ = fs::remove_file(&log);
        let mut command = self.place.command(line);
        if let Some(other) = std::env::var_os("GHOSTZOO_CRASH_PROGRAM") {
            command = as_program(&other, &command);
        }
        command.env("HF_ENDPOINT", &self.server.address).env("HF_HUB_OFFLINE", "0").env("LD_PRELOAD", shim());
        command.env("CRASH_FOLDER", &self.root).env("CRASH_LOG", &log).env("CRASH_AT", number.to_string());
        command.env_remove("CRASH_STAYS");
        match blow {
            Blow::Nothing | Blow::Kill => command.env("CRASH_DO", "kill"),
            Blow::HalfThenKill => command.env("CRASH_DO", "half"),
            Blow::Error { code, stays } => {
                if stays {
                    command.env("CRASH_STAYS", "1");
                }
                command.env("CRASH_DO", code.to_string())
            }
        };
        let [out, err] = [&stdout, &stderr].map(|path| Stdio::from(fs::File::create(path).unwrap()));
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("the program starts");
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > DEADLINE {
                child.kill().unwrap();
                panic!("`{line}` hangs at operation {number}, {blow:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let stderr = String::from_utf8_lossy(&fs::read(&stderr).unwrap()).into_owned();
        let log = fs::read_to_string(&log).unwrap_or_else(|error| panic!("the shim was not loaded: {error}: {stderr}"));
        Struck { code: status.code(), stderr, operations: log.lines().map(operation).collect() }
    }
}

/// The same call of another build.
fn as_program(program: &OsStr, call: &Command) -> Command {
    let mut command = Command::new(program);
    command.args(call.get_args()).current_dir(call.get_current_dir().unwrap());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn operation(line: &str) -> Operation {
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_else(|| panic!("a line of the shim: {line}"));
    let (number, kind, bytes, path) = (next(), next(), next(), next());
    let count = |text: &str| text.parse().unwrap();
    Operation { number: count(number), kind: kind.to_owned(), bytes: count(bytes), path: path.to_owned() }
}

/// The shim, compiled once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/crash/shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        assert!(compiled.expect("a C compiler, which Rust links with").success());
        library
    })
}
