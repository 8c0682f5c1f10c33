//! The Hub's client against a Hub on loopback.
#![cfg(feature = "hub")]

mod downloads;
mod hostile;
mod registered;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ghostzoo_weights::hub::{HubConfig, HubError, RepoFile, fetch};
use ghostzoo_weights::{Progress, ResolveOptions, Silent, resolve};
use sha2::{Digest, Sha256};
use support::{Answer, Request, Server, hub_file};

const FILE: &str = "model.safetensors";

fn place() -> RepoFile {
    RepoFile { repo: "org/model".to_owned(), revision: "main".to_owned(), file: FILE.to_owned() }
}

fn body() -> Vec<u8> {
    (0..100_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(endpoint: &str, cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: endpoint.to_owned(),
        cache: cache.to_path_buf(),
        token: None,
        offline: false,
        retries: 2,
        backoff: Duration::from_millis(1),
        timeout: Duration::from_millis(400),
        rate_window: Duration::from_secs(60),
        least_bytes: 60 << 10,
        most_unannounced: 16 << 30,
    }
}

/// Every file under `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[derive(Default)]
struct Counter {
    started: usize,
    from: u64,
    bytes: u64,
    finished: usize,
}

impl Progress for Counter {
    fn start(&mut self, name: &str, total: Option<u64>, done: u64) {
        assert_eq!((name, total), (FILE, Some(body().len() as u64)));
        self.started += 1;
        self.from = done;
    }
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
    fn finish(&mut self) {
        self.finished += 1;
    }
}
