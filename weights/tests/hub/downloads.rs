//! Downloads, their continuation, and the cache.

use super::*;

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

    assert_eq!(fetch(&config, &place(), None, &mut NoProgress).expect("cached"), path);
    config.offline = true;
    assert_eq!(fetch(&config, &place(), None, &mut NoProgress).expect("cached"), path);
    let by_commit = RepoFile { revision: "c0ffee".to_owned(), ..place() };
    assert_eq!(fetch(&config, &by_commit, None, &mut NoProgress).expect("cached"), path);
    assert_eq!(server.requests().len(), 1, "no further request");
}

#[test]
fn offline_without_the_file_says_which_file_and_where_it_looked() {
    let cache = tempfile::tempdir().expect("folder");
    let config = config("http://127.0.0.1:1", cache.path()).offline(true);
    let error = fetch(&config, &place(), None, &mut NoProgress).expect_err("offline").to_string();
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
    let config = config(&hub.address, cache.path()).token("hf_secret".to_owned());
    let path = fetch(&config, &place(), None, &mut NoProgress).expect("downloads");
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
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
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
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert!(cache.path().join("models--org--model/blobs/plain").is_file(), "a weak tag is a name too");
}

#[test]
fn slow_is_not_broken() {
    let small = body_of(8 * 1024);
    let etag = hash(&small);
    let server = Server::start(move |_, r| Answer { pace: Duration::from_millis(100), ..hub_file(r, &small, &etag) });
    let cache = tempfile::tempdir().expect("folder");
    let path =
        fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads in 0.8 s");
    assert_eq!(std::fs::read(path).expect("readable").len(), 8 * 1024);
}

#[test]
fn two_downloads_at_once_do_not_harm_each_other() {
    let server = Server::start(|_, request| Answer {
        pace: Duration::from_micros(200),
        ..hub_file(request, &body(), &hash(&body()))
    });
    let cache = tempfile::tempdir().expect("folder");
    let config = config(&server.address, cache.path()).retries(10).timeout(Duration::from_secs(5));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| fetch(&config, &place(), None, &mut NoProgress))).collect();
        for run in runs {
            let path = run.join().expect("no panic").expect("downloads");
            assert_eq!(std::fs::read(path).expect("readable"), body());
        }
    });
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
    let path = fetch(&config(&hub.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert_eq!((hub.requests().len(), cdn.requests().len()), (2, 2));
}

#[test]
fn a_server_without_tags_serves_but_leaves_nothing_to_continue() {
    let plain = |cut| move |_: usize, _: &Request| Answer { cut, ..Answer::new(200).body(&body()) };
    let cache = tempfile::tempdir().expect("folder");
    let server = Server::start(plain(Some(5000)));
    fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err("dropped");
    assert!(files(cache.path()).is_empty());
    let server = Server::start(plain(None));
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
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
    let path = fetch(&config("http://127.0.0.1:1", cache.path()), &file, None, &mut NoProgress).expect("cached");
    assert_eq!(std::fs::read(path).expect("readable"), b"weights");
}

#[cfg(unix)]
#[test]
fn a_snapshot_links_to_its_blob_and_a_broken_link_is_mended() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(|_, request| hub_file(request, &body(), &hash(&body())));
    let cache = tempfile::tempdir().expect("folder");
    let file = RepoFile { file: "sub/a b.safetensors".to_owned(), ..place() };
    let config = config(&server.address, cache.path());
    let path = fetch(&config, &file, None, &mut NoProgress).expect("downloads");
    assert_eq!(server.requests()[0].path, "/org/model/resolve/main/sub/a%20b.safetensors");
    let blob = PathBuf::from("../../../blobs").join(hash(&body()));
    assert_eq!(std::fs::read_link(&path).expect("a link"), blob);
    let mode = |path: PathBuf| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let repo = cache.path().join("models--org--model");
    assert_eq!(mode(repo.join("refs/main")), mode(repo.join("blobs").join(hash(&body()))), "others may read both");
    std::fs::remove_file(repo.join("blobs").join(hash(&body()))).expect("removed");
    assert_eq!(fetch(&config, &file, None, &mut NoProgress).expect("downloads again"), path);
    assert_eq!(std::fs::read(path).expect("readable"), body());
}
