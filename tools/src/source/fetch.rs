//! Images of the web.

use anyhow::Result;

/// The bytes at an address, at most as many as an image file may have.
#[cfg(feature = "hub")]
pub(super) fn bytes(address: &str) -> Result<Vec<u8>> {
    use std::time::Duration;

    use anyhow::Context;
    use candle_vision::image::MAX_FILE_BYTES;

    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_global(Some(Duration::from_secs(120)))
        .build();
    let mut response = ureq::Agent::new_with_config(config).get(address).call().context("cannot download the image")?;
    let body = response.body_mut().with_config().limit(MAX_FILE_BYTES);
    body.read_to_vec().context("cannot download the image")
}

/// Nothing is downloaded by a program that was built without its parts for the web.
#[cfg(not(feature = "hub"))]
pub(super) fn bytes(_: &str) -> Result<Vec<u8>> {
    anyhow::bail!("this program was built without the feature `hub`, and downloads nothing: give a file")
}
