//! The Hub's client against a Hub on loopback.
#![cfg(feature = "hub")]

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

#[test]
fn the_first_run_downloads_and_the_second_asks_nobody() {
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let mut config = config(&server.address, cache.path());
    let mut counter = Counter::default();
    let path = fetch(&config, &place(), Some(&hash(&body())), &mut counter).expect("downloads");
    assert_eq!(std::fs::read(&path).expect("readable"), body());
    assert_eq!((counter.started, counter.bytes, counter.finished), (1, body().len() as u64, 1));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/org/model/resolve/main/model.safetensors");
    assert_eq!(requests[0].headers.get("accept-encoding").map(String::as_str), Some("identity"));
    assert!(path.ends_with("models--org--model/snapshots/c0ffee/model.safetensors"), "{}", path.display());
    let reference = cache.path().join("models--org--model/refs/main");
    assert_eq!(std::fs::read_to_string(reference).expect("ref"), "c0ffee");
    assert!(cache.path().join("models--org--model/blobs").join(hash(&body())).is_file());

    assert_eq!(fetch(&config, &place(), None, &mut Silent).expect("cached"), path);
    config.offline = true;
    assert_eq!(fetch(&config, &place(), None, &mut Silent).expect("cached"), path);
    let by_commit = RepoFile { revision: "c0ffee".to_owned(), ..place() };
    assert_eq!(fetch(&config, &by_commit, None, &mut Silent).expect("cached"), path);
    assert_eq!(server.requests().len(), 1, "no further request");
}

#[test]
fn offline_without_the_file_says_which_file_and_where_it_looked() {
    let cache = tempfile::tempdir().expect("folder");
    let config = HubConfig { offline: true, ..config("http://127.0.0.1:1", cache.path()) };
    let error = fetch(&config, &place(), None, &mut Silent).expect_err("offline").to_string();
    for part in ["HF_HUB_OFFLINE", FILE, "org/model@main", "models--org--model"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn the_token_goes_to_the_endpoint_and_to_no_other_host() {
    let cdn = Server::start(|_, request| hub_file(request, &body(), "cdn-etag"));
    let target = format!("{}/blob", cdn.address);
    let hub = Server::start(move |_, _| {
        let size = body().len().to_string();
        let answer =
            Answer::new(302).header("Location", &target).header("X-Linked-Etag", &format!("\"{}\"", hash(&body())));
        answer.header("X-Linked-Size", &size).header("X-Repo-Commit", "abc123")
    });
    let cache = tempfile::tempdir().expect("folder");
    let config = HubConfig { token: Some("hf_secret".to_owned()), ..config(&hub.address, cache.path()) };
    let path = fetch(&config, &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(&path).expect("readable"), body());
    assert!(path.ends_with("snapshots/abc123/model.safetensors"), "the Hub's commit, not the other host's");
    let sent = |server: &Server| server.requests()[0].headers.get("authorization").cloned();
    assert_eq!(sent(&hub).as_deref(), Some("Bearer hf_secret"));
    assert_eq!(sent(&cdn), None);
}

#[test]
fn a_broken_download_continues_at_the_right_byte() {
    let server = Server::start(|number, request| {
        let mut answer = hub_file(request, &body(), &hash(&body()));
        answer.cut = (number == 0).then_some(150_000);
        answer
    });
    let cache = tempfile::tempdir().expect("folder");
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    let ranges: Vec<_> = server.requests().iter().map(|r| r.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some("bytes=150000-".to_owned())]);
}

#[test]
fn a_later_run_continues_what_an_earlier_one_left() {
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let blobs = cache.path().join("models--org--model/blobs");
    std::fs::create_dir_all(&blobs).expect("folder");
    std::fs::write(blobs.join(format!("{}.ghostzoo.incomplete", hash(&body()))), &body()[..1000]).expect("written");
    let theirs = blobs.join(format!("{}.incomplete", hash(&body())));
    std::fs::write(&theirs, b"of huggingface_hub").expect("written");
    let mut counter = Counter::default();
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut counter).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert_eq!((counter.from, counter.bytes), (1000, body().len() as u64 - 1000));
    assert_eq!(std::fs::read(theirs).expect("readable"), b"of huggingface_hub", "another program's partial file");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let server = Server::start(|number, _| {
        let mut answer = Answer::new(200).header("ETag", "W/\"plain\"").body(&body());
        answer.cut = (number == 0).then_some(5000);
        answer
    });
    let cache = tempfile::tempdir().expect("folder");
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert!(cache.path().join("models--org--model/blobs/plain").is_file(), "a weak tag is a name too");
}

#[test]
fn each_failure_is_one_line_and_leaves_no_file_under_a_final_name() {
    type Case = (&'static str, Box<dyn Fn(usize, &Request) -> Answer + Send + Sync>, &'static [&'static str], bool);
    let etag = Arc::new(hash(&body()));
    let (e1, e2, e3) = (etag.clone(), etag.clone(), etag);
    let cut = move |request: &Request, cut: usize, etag: &str| {
        let mut answer = hub_file(request, &body(), etag);
        answer.cut = Some(cut.min(answer.body.len()));
        answer
    };
    let cases: Vec<Case> = vec![
        ("wrong hash", Box::new(move |_, r| hub_file(r, b"other bytes", &e1)), &["damaged", "sha256", FILE], false),
        ("401", Box::new(|_, _| Answer::new(401)), &["401", "HF_TOKEN", "org/model"], false),
        ("403", Box::new(|_, _| Answer::new(403)), &["403", "HF_TOKEN"], false),
        ("404", Box::new(|_, _| Answer::new(404)), &["404", FILE, "org/model", "main"], false),
        ("500", Box::new(|_, _| Answer::new(500)), &["500", "HF_ENDPOINT"], false),
        ("dropped", Box::new(move |_, r| cut(r, 10, &e2)), &["connection", "HF_ENDPOINT"], true),
        (
            "stalled",
            Box::new(move |_, r| Answer { pace: Duration::from_secs(5), ..hub_file(r, &body(), &e3) }),
            &["cannot fetch", "HF_ENDPOINT"],
            false,
        ),
        ("redirect loop", Box::new(|_, r| Answer::new(302).header("Location", &r.path)), &["redirects"], false),
    ];
    for (what, script, parts, keeps_partial) in cases {
        let server = Server::start(script);
        let cache = tempfile::tempdir().expect("folder");
        let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect_err(what);
        let line = error.to_string();
        assert!(!line.contains('\n'), "{what}: {line}");
        for part in parts {
            assert!(line.contains(part), "{what} lacks `{part}`: {line}");
        }
        let left = files(cache.path());
        if keeps_partial {
            assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "incomplete")), "{what}: {left:?}");
        } else {
            assert!(left.is_empty(), "{what}: {left:?}");
        }
    }
}

#[test]
fn a_body_shorter_than_the_hub_promised_is_not_taken_for_the_file() {
    // The server closes cleanly after a short body whose own length is right, and never has the rest.
    let server = Server::start(|_, _| {
        Answer::new(200).header("ETag", "\"short\"").header("X-Linked-Size", "1000").body(&[7; 100])
    });
    let cache = tempfile::tempdir().expect("folder");
    let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect_err("short");
    assert!(error.to_string().contains("100 of 1000 bytes"), "{error}");
    assert!(place().cached(&config(&server.address, cache.path())).is_none());
}

#[test]
fn slow_is_not_broken() {
    let small = vec![3u8; 8 * 1024];
    let etag = hash(&small);
    let server = Server::start(move |_, r| Answer { pace: Duration::from_millis(100), ..hub_file(r, &small, &etag) });
    let cache = tempfile::tempdir().expect("folder");
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect("downloads in 0.8 s");
    assert_eq!(std::fs::read(path).expect("readable").len(), 8 * 1024);
}

#[test]
fn an_unreachable_hub_and_an_unwritable_cache_are_named() {
    let cache = tempfile::tempdir().expect("folder");
    let error = fetch(&config("http://127.0.0.1:1", cache.path()), &place(), None, &mut Silent).expect_err("no server");
    assert!(matches!(&error, HubError::Connection { host, .. } if host == "127.0.0.1:1"), "{error}");
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let file = cache.path().join("file");
    std::fs::write(&file, b"in the way").expect("written");
    let error = fetch(&config(&server.address, &file), &place(), None, &mut Silent).expect_err("no folder");
    assert!(matches!(&error, HubError::Cache { .. }), "{error}");
    assert!(error.to_string().contains("HF_HOME"), "{error}");
}

#[test]
fn names_that_leave_the_cache_are_neither_looked_up_nor_fetched() {
    let cache = tempfile::tempdir().expect("folder");
    std::fs::write(cache.path().join("secret"), b"x").expect("written");
    let outside = RepoFile { file: "../../../secret".to_owned(), ..place() };
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let config = config(&server.address, &cache.path().join("hub"));
    assert_eq!(outside.cached(&config), None);
    let error = fetch(&config, &outside, None, &mut Silent).expect_err("leads out");
    assert!(matches!(error, HubError::Name { .. }), "{error}");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(files(cache.path()), [cache.path().join("secret")]);
}

#[test]
fn two_downloads_at_once_do_not_harm_each_other() {
    let server = Server::start(|_, request| Answer {
        pace: Duration::from_micros(200),
        ..hub_file(request, &body(), &hash(&body()))
    });
    let cache = tempfile::tempdir().expect("folder");
    let config = HubConfig { retries: 10, timeout: Duration::from_secs(5), ..config(&server.address, cache.path()) };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| fetch(&config, &place(), None, &mut Silent))).collect();
        for run in runs {
            let path = run.join().expect("no panic").expect("downloads");
            assert_eq!(std::fs::read(path).expect("readable"), body());
        }
    });
}

#[test]
fn damaged_bytes_of_an_earlier_run_cost_one_more_download() {
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let blobs = cache.path().join("models--org--model/blobs");
    std::fs::create_dir_all(&blobs).expect("folder");
    for damaged in [vec![0xAA; 1000], vec![0xAA; body().len()], vec![0xAA; body().len() + 1]] {
        let _ = std::fs::remove_dir_all(cache.path().join("models--org--model/snapshots"));
        let _ = std::fs::remove_file(blobs.join(hash(&body())));
        let partial = blobs.join(format!("{}.ghostzoo.incomplete", hash(&body())));
        std::fs::write(&partial, damaged).expect("written");
        let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect("downloads");
        assert_eq!(std::fs::read(path).expect("readable"), body());
        assert!(!partial.exists());
    }
}

#[test]
fn a_file_that_changes_during_the_download_is_not_mixed() {
    let server = Server::start(|number, request| {
        let mut answer = hub_file(request, &body(), if number == 0 { "first" } else { "second" });
        answer.cut = (number == 0).then_some(5000);
        answer
    });
    let cache = tempfile::tempdir().expect("folder");
    let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect_err("changed");
    assert!(error.to_string().contains("changed during the download"), "{error}");
    assert!(files(cache.path()).is_empty());
}

#[test]
fn a_hub_that_names_another_hash_is_not_asked_for_the_body() {
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let registered = hash(b"what was registered");
    let mut counter = Counter::default();
    let error = fetch(&config(&server.address, cache.path()), &place(), Some(&registered), &mut counter);
    let error = error.expect_err("another file");
    assert!(matches!(&error, HubError::Replaced { expected, .. } if *expected == registered), "{error}");
    assert!(error.to_string().contains("hf://org/model/model.safetensors"), "{error}");
    assert_eq!((counter.started, counter.bytes), (0, 0));
    assert!(files(cache.path()).is_empty());
}

#[test]
fn a_registered_hash_counts_where_the_tag_is_none() {
    let server = Server::start(|_, request| hub_file(request, b"other bytes", "plain-tag"));
    let cache = tempfile::tempdir().expect("folder");
    let expected = hash(&body());
    let error = fetch(&config(&server.address, cache.path()), &place(), Some(&expected), &mut Silent);
    assert!(matches!(error, Err(HubError::Hash { .. })), "{error:?}");
    assert!(files(cache.path()).is_empty());
}

#[test]
fn a_signed_address_that_expired_is_asked_for_again() {
    let cdn = Server::start(|number, request| match number {
        0 => Answer::new(403),
        _ => hub_file(request, &body(), "cdn-etag"),
    });
    let target = format!("{}/blob", cdn.address);
    let hub = Server::start(move |_, _| {
        Answer::new(302)
            .header("Location", &target)
            .header("X-Linked-Etag", &hash(&body()))
            .header("X-Repo-Commit", "c0")
    });
    let cache = tempfile::tempdir().expect("folder");
    let path = fetch(&config(&hub.address, cache.path()), &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert_eq!((hub.requests().len(), cdn.requests().len()), (2, 2));
}

#[test]
fn a_server_without_tags_serves_but_leaves_nothing_to_continue() {
    let plain = |cut| move |_: usize, _: &Request| Answer { cut, ..Answer::new(200).body(&body()) };
    let cache = tempfile::tempdir().expect("folder");
    let server = Server::start(plain(Some(5000)));
    fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect_err("dropped");
    assert!(files(cache.path()).is_empty());
    let server = Server::start(plain(None));
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
}

#[test]
fn what_cannot_be_the_file_or_the_hub_is_said_at_once() {
    let cache = tempfile::tempdir().expect("folder");
    let patient = |endpoint: &str| HubConfig { backoff: Duration::from_secs(60), ..config(endpoint, cache.path()) };
    let fails = |config: HubConfig| fetch(&config, &place(), None, &mut Silent).expect_err("fails");

    let server = Server::start(|_, request| hub_file(request, &body(), "tag").header("Content-Encoding", "gzip"));
    let error = fails(patient(&server.address));
    assert!(error.to_string().contains("`gzip`"), "{error}");
    for endpoint in ["hf-mirror.com", "", "ftp://mirror", "http://"] {
        let error = fails(patient(endpoint));
        assert!(matches!(error, HubError::Endpoint { .. }), "{endpoint}: {error}");
    }
    let error = fails(HubConfig { token: Some("hf_a\nb".to_owned()), ..patient(&server.address) });
    assert!(matches!(error, HubError::Token) && !error.to_string().contains("hf_a"), "{error}");
    let start = std::time::Instant::now();
    let error = fails(patient("http://127.0.0.1:1"));
    assert!(error.to_string().contains("refused"), "{error}");
    let error = fails(patient("http://hub.invalid"));
    assert!(matches!(&error, HubError::Connection { host, .. } if host == "hub.invalid"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30), "nobody answers: a second attempt would not help");
    assert!(files(cache.path()).is_empty());
}

#[test]
fn a_busy_hub_says_how_long_to_wait() {
    let server = Server::start(|number, request| match number {
        0 => Answer::new(429).header("Retry-After", "0"),
        _ => hub_file(request, &body(), &hash(&body())),
    });
    let cache = tempfile::tempdir().expect("folder");
    let config = HubConfig { backoff: Duration::from_secs(60), ..config(&server.address, cache.path()) };
    fetch(&config, &place(), None, &mut Silent).expect("downloads after no wait");
}

#[test]
fn a_cache_filled_by_huggingface_hub_is_read() {
    let cache = tempfile::tempdir().expect("folder");
    let repo = cache.path().join("models--org--model");
    let snapshot = repo.join("snapshots/0123456789abcdef0123456789abcdef01234567/sub");
    for folder in [&repo.join("refs"), &repo.join("blobs"), &snapshot] {
        std::fs::create_dir_all(folder).expect("folder");
    }
    std::fs::write(repo.join("refs/main"), "0123456789abcdef0123456789abcdef01234567").expect("written");
    std::fs::write(repo.join("blobs/tag"), b"weights").expect("written");
    #[cfg(unix)]
    std::os::unix::fs::symlink("../../../blobs/tag", snapshot.join("model.pt")).expect("linked");
    #[cfg(not(unix))]
    std::fs::copy(repo.join("blobs/tag"), snapshot.join("model.pt")).expect("copied");
    let file = RepoFile { file: "sub/model.pt".to_owned(), ..place() };
    let path = fetch(&config("http://127.0.0.1:1", cache.path()), &file, None, &mut Silent).expect("cached");
    assert_eq!(std::fs::read(path).expect("readable"), b"weights");
}

#[cfg(unix)]
#[test]
fn a_snapshot_links_to_its_blob_and_a_broken_link_is_mended() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let file = RepoFile { file: "sub/a b.pt".to_owned(), ..place() };
    let config = config(&server.address, cache.path());
    let path = fetch(&config, &file, None, &mut Silent).expect("downloads");
    assert_eq!(server.requests()[0].path, "/org/model/resolve/main/sub/a%20b.pt");
    let blob = PathBuf::from("../../../blobs").join(hash(&body()));
    assert_eq!(std::fs::read_link(&path).expect("a link"), blob);
    let mode = |path: PathBuf| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let repo = cache.path().join("models--org--model");
    assert_eq!(mode(repo.join("refs/main")), mode(repo.join("blobs").join(hash(&body()))), "others may read both");
    std::fs::remove_file(repo.join("blobs").join(hash(&body()))).expect("removed");
    assert_eq!(fetch(&config, &file, None, &mut Silent).expect("downloads again"), path);
    assert_eq!(std::fs::read(path).expect("readable"), body());
}

/// A Hub that has weights under any name, and a `config.json` by `config`.
fn timm_hub(config: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
    Server::start(move |_, request| match request.path.ends_with("/config.json") {
        true => config(request),
        false => hub_file(request, &body(), &hash(&body())),
    })
}

#[test]
fn a_named_classifier_comes_with_its_config() {
    let server = timm_hub(|request| hub_file(request, b"{}", "small"));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions { hub: Some(config(&server.address, cache.path())) };
    let first = resolve("ghostnet_100", &options, &mut Silent).expect("downloads");
    assert_eq!(first.entry.as_ref().map(|entry| entry.name.as_str()), Some("ghostnet_100.in1k"));
    assert_eq!(std::fs::read(first.config.as_ref().expect("a config")).expect("readable"), b"{}");
    assert_eq!(server.requests().len(), 2);
    assert_eq!(resolve("ghostnet_100.in1k", &options, &mut Silent).expect("cached"), first);
    assert_eq!(server.requests().len(), 2, "no further request");
    let address = "hf://timm/ghostnet_100.in1k@c0ffee/model.safetensors";
    assert_eq!(resolve(address, &options, &mut Silent).expect("cached").origin, first.origin);
    assert_eq!(server.requests().len(), 2, "no further request");
}

#[test]
fn a_repository_without_a_config_is_asked_once() {
    let server = timm_hub(|_| Answer::new(404));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions { hub: Some(config(&server.address, cache.path())) };
    for _ in 0..2 {
        let found = resolve("hf://org/model/model.safetensors", &options, &mut Silent).expect("resolves");
        assert_eq!(found.config, None);
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_config_that_failed_to_come_is_asked_for_in_the_next_run() {
    let server = timm_hub(|_| Answer::new(500));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions { hub: Some(config(&server.address, cache.path())) };
    let error = resolve("ghostnet_100", &options, &mut Silent).expect_err("no config");
    assert!(error.to_string().contains("config.json"), "{error}");
    let server = timm_hub(|request| hub_file(request, b"{}", "small"));
    let options = ResolveOptions { hub: Some(config(&server.address, cache.path())) };
    let mut counter = Total::default();
    assert!(resolve("ghostnet_100", &options, &mut counter).expect("resolves").config.is_some());
    assert_eq!(counter.0, 2, "the weights are not downloaded twice");
}

#[derive(Default)]
struct Total(u64);

impl Progress for Total {
    fn start(&mut self, _: &str, _: Option<u64>, _: u64) {}
    fn advance(&mut self, bytes: u64) {
        self.0 += bytes;
    }
    fn finish(&mut self) {}
}

#[test]
fn a_detector_is_held_to_its_registered_hash() {
    let server = timm_hub(|_| Answer::new(500));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions { hub: Some(config(&server.address, cache.path())) };
    let error = resolve("yolov8n", &options, &mut Silent).expect_err("these are not YOLOv8's weights");
    assert!(error.to_string().contains("31e20dde3def09e2"), "{error}");
    assert!(files(cache.path()).is_empty());
    assert_eq!(server.requests()[0].path, "/Ultralytics/YOLOv8/resolve/main/yolov8n.pt");
}

#[test]
fn a_hub_that_drips_is_given_up() {
    let server = Server::start(|_, r| Answer { pace: Duration::from_millis(50), ..hub_file(r, &body(), "drips") });
    let cache = tempfile::tempdir().expect("folder");
    let window = Duration::from_millis(200);
    let config = HubConfig { rate_window: window, retries: 0, ..config(&server.address, cache.path()) };
    let error = fetch(&config, &place(), None, &mut Silent).expect_err("20 KB/s").to_string();
    assert!(error.contains("bytes arrived in 0.2 s, after") && error.contains("HF_ENDPOINT"), "{error}");
    let enough = HubConfig { least_bytes: 1000, ..config };
    let small =
        Server::start(|_, r| Answer { pace: Duration::from_millis(50), ..hub_file(r, &body()[..16 * 1024], "small") });
    let enough = HubConfig { endpoint: small.address.clone(), ..enough };
    fetch(&enough, &place(), None, &mut Silent).expect("fast enough for a least rate of 5 KB/s");
}

#[test]
fn a_body_without_a_length_is_bounded() {
    let server = Server::start(|_, _| Answer { unannounced: true, ..Answer::new(200).body(&body()) });
    let cache = tempfile::tempdir().expect("folder");
    let bound = |most_unannounced| HubConfig { most_unannounced, ..config(&server.address, cache.path()) };
    let error = fetch(&bound(body().len() as u64 - 1), &place(), None, &mut Silent).expect_err("endless");
    assert!(error.to_string().contains("more than 399999 bytes arrived and no length was announced"), "{error}");
    assert_eq!(server.requests().len(), 1, "not tried again");
    assert!(files(cache.path()).is_empty());
    fetch(&bound(body().len() as u64), &place(), None, &mut Silent).expect("just as long as allowed");
}

#[test]
fn a_ref_that_leaves_the_cache_is_not_followed() {
    let cache = tempfile::tempdir().expect("folder");
    let repo = cache.path().join("models--org--model");
    for folder in ["refs", "snapshots", "blobs"] {
        std::fs::create_dir_all(repo.join(folder)).expect("folder");
    }
    let outside = tempfile::tempdir().expect("folder");
    std::fs::write(outside.path().join(FILE), b"outside").expect("written");
    std::fs::write(cache.path().join(FILE), b"outside").expect("written");
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let config = config(&server.address, cache.path());
    for target in ["../..", outside.path().to_str().expect("a path"), ".", ""] {
        std::fs::write(repo.join("refs/main"), target).expect("written");
        assert_eq!(place().cached(&config), None, "{target}");
    }
    let path = fetch(&config, &place(), None, &mut Silent).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).expect("ref"), "c0ffee", "and is mended");
}

#[test]
fn without_a_home_no_cache_is_put_into_the_working_folder() {
    let error = HubConfig::from_lookup(|_| None).expect_err("nowhere to put it");
    assert!(matches!(error, HubError::NoHome), "{error}");
    assert_eq!(
        error.to_string(),
        "no folder for the cache: HOME is not set; set HOME, or HF_HOME to the cache's folder"
    );
    for name in ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "USERPROFILE"] {
        let config = HubConfig::from_lookup(|n| (n == name).then(|| "/given".to_owned())).expect("a folder");
        assert!(config.cache.starts_with("/given"), "{name}: {}", config.cache.display());
    }
}
