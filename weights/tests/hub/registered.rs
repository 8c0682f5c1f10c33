//! Files of registered models, and their configs.

use super::*;

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
    let options = ResolveOptions::new().hub(config(&server.address, cache.path()));
    let first = resolve("ghostnet_100", &options, &mut NoProgress).expect("downloads");
    assert_eq!(first.entry.as_ref().map(|entry| entry.name.as_str()), Some("ghostnet_100.in1k"));
    assert_eq!(std::fs::read(first.config.as_ref().expect("a config")).expect("readable"), b"{}");
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests()[1].path.ends_with("/resolve/c0ffee/config.json"), "of the weights' commit");
    assert_eq!(resolve("ghostnet_100.in1k", &options, &mut NoProgress).expect("cached"), first);
    assert_eq!(server.requests().len(), 2, "no further request");
    let address = "hf://timm/ghostnet_100.in1k@c0ffee/model.safetensors";
    assert_eq!(resolve(address, &options, &mut NoProgress).expect("cached").origin, first.origin);
    assert_eq!(server.requests().len(), 2, "no further request");
}

#[test]
fn a_repository_without_a_config_is_asked_once() {
    let server = timm_hub(|_| Answer::new(404));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions::new().hub(config(&server.address, cache.path()));
    for _ in 0..2 {
        let found = resolve("hf://org/model/model.safetensors", &options, &mut NoProgress).expect("resolves");
        assert_eq!(found.config, None);
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_config_that_failed_to_come_is_asked_for_in_the_next_run() {
    let server = timm_hub(|_| Answer::new(500));
    let cache = tempfile::tempdir().expect("folder");
    let options = ResolveOptions::new().hub(config(&server.address, cache.path()));
    let error = resolve("ghostnet_100", &options, &mut NoProgress).expect_err("no config");
    assert!(error.to_string().contains("config.json"), "{error}");
    let server = timm_hub(|request| hub_file(request, b"{}", "small"));
    let options = ResolveOptions::new().hub(config(&server.address, cache.path()));
    let mut counter = Total::default();
    assert!(resolve("ghostnet_100", &options, &mut counter).expect("resolves").config.is_some());
    assert_eq!(counter.0, 2, "the weights are not downloaded twice");
}

#[derive(Default)]

struct Total(u64);

impl DownloadProgress for Total {
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
    let options = ResolveOptions::new().hub(config(&server.address, cache.path()));
    let error = resolve("yolov8n", &options, &mut NoProgress).expect_err("these are not YOLOv8's weights");
    assert!(error.to_string().contains("31e20dde3def09e2"), "{error}");
    assert!(files(cache.path()).is_empty());
    assert_eq!(server.requests()[0].path, "/Ultralytics/YOLOv8/resolve/main/yolov8n.pt");
}
