//! What a GPU launches for a network, counted without one.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::DType;

use crate::output::{Stdout, Table};
use ghostzoo::Network;

/// An NVIDIA H100 SXM by its data sheet: bytes and operations in `f32` (no tensor cores) per second.
const BANDWIDTH: f64 = 3.35e12;
const FLOPS: f64 = 67e12;
/// Seconds from one launch to the next, of kernels with nothing to do.
const LAUNCH: f64 = 2e-6;

/// Prints the launches by kernel, and the least time of an H100.
pub(super) fn print(network: &Network, size: [usize; 2], dtype: DType) -> Result<()> {
    let launches = match network {
        Network::Classifier(net) => net.launches(size)?,
        Network::Detector(net) => net.launches(size)?,
    };
    let (mut kernels, bytes) = (BTreeMap::<&str, [usize; 3]>::new(), dtype.size_in_bytes());
    for launch in &launches {
        let [count, macs, elements] = kernels.entry(launch.kernel).or_default();
        (*count, *macs, *elements) = (*count + 1, *macs + launch.macs, *elements + launch.elements);
    }
    let mut out = Stdout::new();
    let mut table = Table::new(&["kernel", "launches", "MFLOP", "MB"], 1);
    let row = |name: &str, [count, macs, elements]: [usize; 3]| {
        let [mflop, mb] = [2 * macs, elements * bytes].map(|n| format!("{:.1}", n as f64 / 1e6));
        vec![name.to_owned(), count.to_string(), mflop, mb]
    };
    let total = kernels.values().fold([0; 3], |sum, of| [0, 1, 2].map(|i| sum[i] + of[i]));
    for (name, of) in kernels {
        table.row(row(name, of));
    }
    table.row(row("all", total));
    for line in table.lines() {
        out.line(&line)?;
    }
    let convs = launches.iter().filter(|launch| launch.is_conv).count();
    out.line(&format!("{} launches for {convs} convolutions: {:.2} each", total[0], total[0] as f64 / convs as f64))?;
    let times = [(total[2] * bytes) as f64 / BANDWIDTH, 2. * total[1] as f64 / FLOPS, total[0] as f64 * LAUNCH];
    let [memory, arithmetic, launching] = times.map(|seconds| format!("{:.0} us", seconds * 1e6));
    out.line(&format!(
        "an H100 takes at least {memory} for the bytes (3.35 TB/s), {arithmetic} for the arithmetic (67 TFLOP/s), \
         {launching} for the launches (2 us each)"
    ))
}
