//! The Hub's client against a Hub on loopback.
#![cfg(feature = "hub")]

mod damaged;
mod downloads;
mod hostile;
mod lies;
mod registered;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ghostzoo_weights::hub::{HubConfig, HubError, RepoFile, fetch, refetch};
use ghostzoo_weights::{DownloadProgress, NoProgress, ResolveOptions, resolve};
use peak_alloc::PeakAlloc;
use sha2::{Digest, Sha256};
use support::{Answer, Request, Server, hub_file};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const FILE: &str = "model.safetensors";

fn place() -> RepoFile {
    RepoFile { repo: "org/model".to_owned(), revision: "main".to_owned(), file: FILE.to_owned() }
}

fn body() -> Vec<u8> {
    body_of(400_000)
}

/// A whole file of one tensor.
fn body_of(length: usize) -> Vec<u8> {
    let count = length - 108;
    let header = format!(r#"{{"conv_stem.weight":{{"dtype":"U8","shape":[{count}],"data_offsets":[0,{count}]}}}}"#);
    let header = format!("{header:100}");
    assert_eq!(header.len(), 100, "the shape is a number of few digits");
    let elements = (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    100u64.to_le_bytes().into_iter().chain(header.bytes()).chain(elements).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(endpoint: &str, cache: &Path) -> HubConfig {
    HubConfig::new(cache)
        .endpoint(endpoint)
        .retries(2)
        .backoff(Duration::from_millis(1))
        .timeout(Duration::from_millis(400))
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

impl DownloadProgress for Counter {
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
