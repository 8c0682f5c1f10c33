//! Hubs that lie, break off or drip, and names that lead out of the cache.

use super::*;

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
        let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err(what);
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
    let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err("short");
    assert!(error.to_string().contains("100 of 1000 bytes"), "{error}");
    assert!(place().cached(&config(&server.address, cache.path())).is_none());
}

#[test]
fn an_unreachable_hub_and_an_unwritable_cache_are_named() {
    let cache = tempfile::tempdir().expect("folder");
    let error =
        fetch(&config("http://127.0.0.1:1", cache.path()), &place(), None, &mut NoProgress).expect_err("no server");
    assert!(matches!(&error, HubError::Connection { host, .. } if host == "127.0.0.1:1"), "{error}");
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let file = cache.path().join("file");
    std::fs::write(&file, b"in the way").expect("written");
    let error = fetch(&config(&server.address, &file), &place(), None, &mut NoProgress).expect_err("no folder");
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
    let error = fetch(&config, &outside, None, &mut NoProgress).expect_err("leads out");
    assert!(matches!(error, HubError::Name { .. }), "{error}");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(files(cache.path()), [cache.path().join("secret")]);
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
        let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
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
    let error = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err("changed");
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
    let error = fetch(&config(&server.address, cache.path()), &place(), Some(&expected), &mut NoProgress);
    assert!(matches!(error, Err(HubError::Hash { .. })), "{error:?}");
    assert!(files(cache.path()).is_empty());
}

#[test]
fn what_cannot_be_the_file_or_the_hub_is_said_at_once() {
    let cache = tempfile::tempdir().expect("folder");
    let patient = |endpoint: &str| config(endpoint, cache.path()).backoff(Duration::from_secs(60));
    let fails = |config: HubConfig| fetch(&config, &place(), None, &mut NoProgress).expect_err("fails");

    let server = Server::start(|_, request| hub_file(request, &body(), "tag").header("Content-Encoding", "gzip"));
    let error = fails(patient(&server.address));
    assert!(error.to_string().contains("`gzip`"), "{error}");
    for endpoint in ["hf-mirror.com", "", "ftp://mirror", "http://"] {
        let error = fails(patient(endpoint));
        assert!(matches!(error, HubError::Endpoint { .. }), "{endpoint}: {error}");
    }
    let error = fails(patient(&server.address).token("hf_a\nb".to_owned()));
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
    let config = config(&server.address, cache.path()).backoff(Duration::from_secs(60));
    fetch(&config, &place(), None, &mut NoProgress).expect("downloads after no wait");
}

#[test]
fn a_hub_that_drips_is_given_up() {
    let server = Server::start(|_, r| Answer { pace: Duration::from_millis(50), ..hub_file(r, &body(), "drips") });
    let cache = tempfile::tempdir().expect("folder");
    let window = Duration::from_millis(200);
    let config = config(&server.address, cache.path()).rate_window(window).retries(0);
    let error = fetch(&config, &place(), None, &mut NoProgress).expect_err("20 KB/s").to_string();
    assert!(error.contains("bytes arrived in 0.2 s, after") && error.contains("HF_ENDPOINT"), "{error}");
    let enough = config.least_bytes(1000);
    let small =
        Server::start(|_, r| Answer { pace: Duration::from_millis(50), ..hub_file(r, &body_of(16 * 1024), "small") });
    let enough = enough.endpoint(small.address.clone());
    fetch(&enough, &place(), None, &mut NoProgress).expect("fast enough for a least rate of 5 KB/s");
}

#[test]
fn a_body_without_a_length_is_bounded() {
    let server = Server::start(|_, _| Answer { unannounced: true, ..Answer::new(200).body(&body()) });
    let cache = tempfile::tempdir().expect("folder");
    let bound = |most_unannounced| config(&server.address, cache.path()).most_unannounced(most_unannounced);
    let error = fetch(&bound(body().len() as u64 - 1), &place(), None, &mut NoProgress).expect_err("endless");
    assert!(error.to_string().contains("more than 399999 bytes arrived and no length was announced"), "{error}");
    assert_eq!(server.requests().len(), 1, "not tried again");
    assert!(files(cache.path()).is_empty());
    fetch(&bound(body().len() as u64), &place(), None, &mut NoProgress).expect("just as long as allowed");
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
    let path = fetch(&config, &place(), None, &mut NoProgress).expect("downloads");
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
