//! Images of the web.

use std::time::Duration;

use anyhow::Result;

/// The longest time that a download may take, unless the time-out is longer.
#[cfg(feature = "hub")]
const LONGEST: Duration = Duration::from_secs(120);

/// The bytes at an address, at most as many as an image file may have. `timeout` is how long nothing may come.
#[cfg(feature = "hub")]
pub(super) fn bytes(address: &str, timeout: Duration) -> Result<Vec<u8>> {
    use anyhow::anyhow;
    use candle_vision::image::MAX_FILE_BYTES;
    use ureq::{Error, Timeout};

    let longest = LONGEST.max(timeout);
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_global(Some(longest))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let body = agent.get(address).call().and_then(|mut response| {
        let body = response.body_mut().with_config().limit(MAX_FILE_BYTES);
        body.read_to_vec()
    });
    body.map_err(|error| match error {
        Error::Timeout(Timeout::Global) => {
            anyhow!("cannot download the image: it takes longer than {} s", longest.as_secs_f64())
        }
        Error::Timeout(_) => anyhow!("stalled: nothing came for {} s; --timeout waits longer", timeout.as_secs_f64()),
        error => anyhow::Error::from(error).context("cannot download the image"),
    })
}

/// Nothing is downloaded by a program that was built without its parts for the web.
#[cfg(not(feature = "hub"))]
pub(super) fn bytes(_: &str, _: Duration) -> Result<Vec<u8>> {
    anyhow::bail!("this program was built without the feature `hub`, and downloads nothing: give a file")
}
