//! Files that are not what their names say: on the way, and in the cache already.

use super::*;

const PAGE: &[u8] = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Hotel Wi-Fi</body></html>";

fn named(file: &str) -> RepoFile {
    RepoFile { file: file.to_owned(), ..place() }
}

#[test]
fn what_is_not_of_its_names_format_does_not_get_into_the_cache() {
    let cut = body()[..300_000].to_vec();
    let longer = [body(), b"</html>".to_vec()].concat();
    let cases: [(&str, &[u8], &str); 9] = [
        (FILE, PAGE, "a web page"),
        ("yolo.pt", PAGE, "a web page"),
        ("config.json", PAGE, "a web page"),
        (FILE, &cut, "300000 of the 400000 bytes"),
        (FILE, &longer, "and 399899 are there"),
        (FILE, b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        ("yolo.pt", b"PK\x03\x04 cut off", "a zip without its end"),
        ("yolo.pth", b"{\"error\":\"gone\"}", "something else"),
        ("config.json", b"{\"a\": ", "no JSON"),
    ];
    for (file, content, part) in cases {
        for etag in [Some("a-tag"), None] {
            let sent = content.to_vec();
            let server = Server::start(move |_, request| match etag {
                Some(etag) => hub_file(request, &sent, etag),
                None => Answer::new(200).body(&sent),
            });
            let cache = tempfile::tempdir().expect("folder");
            let error = fetch(&config(&server.address, cache.path()), &named(file), None, &mut NoProgress);
            let error = error.expect_err("another format");
            assert!(matches!(&error, HubError::Format { .. }), "{file}: {error}");
            let line = error.to_string();
            let address = format!("{}/org/model/resolve/main/{file} sent", server.address);
            for part in [part, &address, "a local file", "HF_ENDPOINT"] {
                assert!(line.contains(part) && !line.contains('\n'), "{file} lacks `{part}`: {line}");
            }
            assert!(files(cache.path()).is_empty(), "{file}: {:?}", files(cache.path()));
            assert_eq!(server.requests().len(), 1, "{file}: not asked again");
        }
    }
}

#[test]
fn the_address_of_a_wrong_file_is_told_without_its_signature() {
    let cdn = Server::start(|_, request| hub_file(request, PAGE, "cdn"));
    let target = format!("{}/blob?Signature=secret", cdn.address);
    let hub = Server::start(move |_, _| Answer::new(302).header("Location", &target));
    let cache = tempfile::tempdir().expect("folder");
    let error =
        fetch(&config(&hub.address, cache.path()), &place(), None, &mut NoProgress).expect_err("a page").to_string();
    assert!(error.starts_with(&format!("{}/blob sent a web page", cdn.address)), "{error}");
}

#[test]
fn older_bytes_of_another_file_cost_one_more_download() {
    let server = Server::start(|_, request| hub_file(request, &body(), "plain-tag"));
    let cache = tempfile::tempdir().expect("folder");
    let blobs = cache.path().join("models--org--model/blobs");
    std::fs::create_dir_all(&blobs).expect("folder");
    std::fs::write(blobs.join("plain-tag.ghostzoo.incomplete"), PAGE).expect("written");
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
}

#[test]
fn a_damaged_blob_without_its_snapshot_is_replaced() {
    let server = Server::start(|_, request| hub_file(request, &body(), "plain-tag"));
    let cache = tempfile::tempdir().expect("folder");
    let blobs = cache.path().join("models--org--model/blobs");
    std::fs::create_dir_all(&blobs).expect("folder");
    std::fs::write(blobs.join("plain-tag"), PAGE).expect("written");
    let path = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
    assert_eq!(std::fs::read(path).expect("readable"), body());
    assert_eq!(std::fs::read(blobs.join("plain-tag")).expect("readable"), body());
}

#[test]
fn a_file_is_downloaded_again_and_takes_the_place_of_the_cached_one() {
    // The Hub's file under the same tag, under another tag, in another commit; a snapshot that is no link.
    for (what, etag, commit, is_link) in [
        ("the same tag", "first", "c0ffee", true),
        ("another tag", "second", "c0ffee", true),
        ("another commit", "second", "beef", true),
        ("a copy", "first", "c0ffee", false),
    ] {
        let cache = tempfile::tempdir().expect("folder");
        let older = body_of(9000);
        let sent = older.clone();
        let server = Server::start(move |_, request| hub_file(request, &sent, "first"));
        let first = fetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect("downloads");
        if !is_link {
            std::fs::remove_file(&first).expect("removed");
            std::fs::write(&first, &older).expect("written");
        }
        let server = Server::start(|_, _| Answer::new(503));
        let error = refetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err("503");
        assert!(matches!(error, HubError::Status { .. }), "{what}: {error}");
        let server = Server::start(|_, request| hub_file(request, PAGE, "first"));
        let error =
            refetch(&config(&server.address, cache.path()), &place(), None, &mut NoProgress).expect_err("a page");
        assert!(matches!(error, HubError::Format { .. }), "{what}: {error}");
        let offline = config(&server.address, cache.path()).offline(true);
        let error = refetch(&offline, &place(), None, &mut NoProgress).expect_err("offline").to_string();
        assert!(error.contains("the cache stays as it is"), "{what}: {error}");
        assert_eq!(std::fs::read(&first).expect("readable"), older, "{what}: the old file stays");
        assert!(files(cache.path()).iter().all(|path| path.extension().is_none_or(|e| e != "incomplete")), "{what}");

        let server = Server::start(move |_, request| {
            let mut answer = hub_file(request, &body(), etag);
            answer.headers.retain(|(name, _)| name != "X-Repo-Commit");
            answer.header("X-Repo-Commit", commit)
        });
        let mut config = config(&server.address, cache.path());
        let again = refetch(&config, &place(), None, &mut NoProgress).expect("downloads again");
        assert_eq!(std::fs::read(&again).expect("readable"), body(), "{what}");
        config.offline = true;
        let cached = fetch(&config, &place(), None, &mut NoProgress).expect("cached");
        assert_eq!((&cached, std::fs::read(&cached).expect("readable")), (&again, body()), "{what}");
        let names = files(cache.path());
        let is_known = |path: &PathBuf| [FILE, "main", "first", "second"].iter().any(|name| path.ends_with(name));
        assert!(names.iter().all(is_known), "{what}: {names:?}");
    }
}
