//! `ghostzoo bench`: how long a network takes.

mod launches;
mod train;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, DeviceLocation, Tensor};
use candle_nn::VarBuilder;
use candle_vision::seeded;
use candle_yolov8::Endpoint;
use ghostzoo_kernels::plan::{self, OpTiming};
use ghostzoo_kernels::{Isa, peak_flops, with_candle_ops};
use serde_json::json;

use crate::cli::{BenchArgs, Engine, Float, GlobalArgs, bytes};
use crate::model;
use crate::output::{Stdout, Table};
use candle_vision::sysinfo;
use ghostzoo::Architecture;
use ghostzoo::Network;

/// How often the machine's peak is measured between the runs.
const TURNS: usize = 5;

/// A network with its input.
struct Bench {
    network: Network,
    xs: Tensor,
    engine: Engine,
    /// Whether it computes in 8 bits.
    has_integers: bool,
}

/// Times the network.
pub(crate) fn run(args: &BenchArgs, global: &GlobalArgs) -> Result<()> {
    if args.tune {
        return print_table(args.isa.unwrap_or_else(Isa::best));
    }
    let device = global.open(global.quiet || args.json)?;
    let model = model::required(args.model.as_deref())?;
    let architecture = Architecture::of(model, None, global.arch.as_deref())?;
    let (name, path) = (bytes::shown(model), Path::new(model));
    if args.train {
        return train::run(args, &name, &architecture, &device, global.dtype(&device));
    }
    let batch = args.batch.unwrap_or(1);
    let [height, width] = args.imgsz.unwrap_or_else(|| architecture.default_input_size());
    let isa = args.isa.unwrap_or_else(Isa::best);
    let xs = seeded::uniform("input", &(batch, 3, height, width).into(), &Device::Cpu)?.to_device(&device)?;
    let open = |global: &GlobalArgs| -> Result<Bench> {
        let (mut network, dtype, has_integers) = if path.is_file() && !name.ends_with("yaml") {
            let loaded = model::load(model, global, &device, args.json)?;
            (loaded.network, loaded.dtype, loaded.quantized)
        } else {
            let dtype = global.dtype(&device);
            (ghostzoo::model::build_with(&architecture, seeded_weights(&architecture, dtype, &device))?, dtype, false)
        };
        match &mut network {
            Network::Classifier(net) => net.set_isa(isa)?,
            Network::Detector(net) => net.set_isa(isa)?,
        }
        Ok(Bench { network, xs: xs.to_dtype(dtype)?, engine: args.engine, has_integers })
    };
    let bench = open(global)?;
    let dtype = bench.xs.dtype();
    if args.launches {
        return launches::print(&bench.network, [height, width], dtype);
    }
    let mut out = Stdout::new();
    for _ in 0..3 {
        bench.once()?;
    }
    if args.stdin {
        return bench.take_turns(&mut out);
    }
    if args.profile {
        bench.print_profile(&mut out)?;
    }
    let threads = rayon::current_num_threads();
    let has_peak = (args.engine, device.is_cpu(), dtype) == (Engine::Plan, true, DType::F32);
    let (mut times, mut peak) = (Vec::with_capacity(args.runs), 0_f64);
    for run in 0..args.runs {
        // In turns with the runs, so that both find the machine alike.
        if has_peak && run % args.runs.div_ceil(TURNS) == 0 {
            peak = peak.max(peak_flops(isa, threads));
            bench.once()?;
        }
        times.push(bench.once()?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let (p10, median, p90) = (at(0.1), at(0.5), at(0.9));
    let flops = match has_peak {
        true => {
            let macs: usize = bench.profile()?.iter().map(|step| step.macs).sum();
            Some(2. * (macs * batch) as f64 / (median / 1e3))
        }
        false => None,
    };
    let peak = flops.and_then(|flops| known_peak(peak.max(peak_flops(isa, threads)), flops));
    let images = batch as f64 / (median / 1e3);
    let most = sysinfo::peak();
    if args.json {
        let object = json!({
            "model": name, "batch": batch, "input_size": [height, width], "threads": threads,
            "device": format!("{:?}", device.location()).to_lowercase(), "dtype": dtype.as_str(),
            "engine": format!("{:?}", args.engine).to_lowercase(), "isa": isa.name(), "runs": args.runs,
            "images_per_second": images, "gflops_per_second": flops.map(|flops| flops / 1e9),
            "machine_gflops_per_second": peak.map(|peak| peak / 1e9), "peak_memory_bytes": most,
            "p10_ms": p10, "p90_ms": p90, "median_ms": median,
        });
        return out.json(&object);
    }
    let place = match device.location() {
        DeviceLocation::Cpu => format!("{threads} threads, {isa}, {}", dtype.as_str()),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}, {}", dtype.as_str()),
        DeviceLocation::Metal { .. } => format!("metal, {}", dtype.as_str()),
    };
    out.line(&format!("{name} {batch}x{height}x{width}, {place}"))?;
    if let Some(flops) = flops {
        out.line(&told(flops, peak))?;
    }
    if let Some(bytes) = most {
        out.line(&format!("peak memory {:.1} MB", bytes as f64 / 1e6))?;
    }
    if has_peak && !bench.has_integers && isa.multiplies_bf16() {
        let bf16 = open(&GlobalArgs { dtype: Some(Float::Bf16), quiet: true, ..global.clone() })?;
        out.line(&format!(
            "in bf16, which --dtype auto takes on such a processor: median ms {:.3}",
            bf16.median(args.runs)?
        ))?;
    }
    out.line(&format!("{images:.1} images/s, p10 {p10:.3} ms, p90 {p90:.3} ms, median ms {median:.3}"))
}

/// The machine's peak, in operations per second, where a network is not beyond it: else something else had a part of the
/// machine whenever it was measured.
fn known_peak(measured: f64, flops: f64) -> Option<f64> {
    (flops <= measured).then_some(measured)
}

/// What is said of a network's operations per second.
fn told(flops: f64, peak: Option<f64>) -> String {
    let share = match peak {
        Some(peak) => format!("{:.0} % of the machine's {:.1}", 100. * flops / peak, peak / 1e9),
        None => "peak not known on this machine right now".to_owned(),
    };
    format!("{:.1} GFLOP/s of the layers' definition, {share}", flops / 1e9)
}

/// The models whose convolutions the tables know.
const TUNED: [&str; 8] = [
    "ghostnet_100",
    "ghostnetv2_100",
    "ghostnetv3_100",
    "yolov8n",
    "yolov8n-ghost",
    "yolov8n-ghostnet",
    "yolov8s",
    "yolov8s-ghostnet",
];

/// Values for a network without a checkpoint.
fn seeded_weights(architecture: &Architecture, dtype: DType, device: &Device) -> VarBuilder<'static> {
    match architecture {
        Architecture::Classifier(_) => candle_ghostnet::seeded::var_builder(dtype, device),
        Architecture::Detector(_) => candle_yolov8::seeded::var_builder(dtype, device),
    }
}

/// Prints the lines of an instruction set's table, shape by shape.
fn print_table(isa: Isa) -> Result<()> {
    let mut shapes = BTreeSet::new();
    for name in TUNED {
        let architecture = Architecture::named(name, None).context("an architecture that ships")?;
        let sizes: &[[usize; 2]] = match architecture {
            Architecture::Classifier(_) => &[[224; 2]],
            Architecture::Detector(_) => &[[640; 2], [640, 480], [480, 640], [320; 2]],
        };
        let network =
            ghostzoo::model::build_with(&architecture, seeded_weights(&architecture, DType::F32, &Device::Cpu))?;
        for size in sizes {
            shapes.extend(match &network {
                Network::Classifier(net) => net.conv_shapes(*size)?,
                Network::Detector(net) => net.conv_shapes(*size)?,
            });
        }
    }
    let mut out = Stdout::new();
    for shape in shapes {
        if let Some(line) = plan::tune(&shape, isa)? {
            out.line(&line)?;
        }
    }
    Ok(())
}

impl Bench {
    /// One run: images in, and out what `classify` and `detect` go on from: logits, levels on the CPU, boxes on a GPU.
    fn once(&self) -> Result<Duration> {
        let start = Instant::now();
        let device = self.xs.device();
        let forward = || match &self.network {
            Network::Classifier(net) => net.forward(&self.xs).map(|logits| vec![logits]),
            Network::Detector(net) => net.run(Endpoint::of_detection(device), &self.xs),
        };
        let _outputs = match self.engine {
            Engine::Plan => forward()?,
            Engine::Stock => with_candle_ops(forward)?,
        };
        device.synchronize()?;
        Ok(start.elapsed())
    }

    /// The median of some runs after three, in ms.
    fn median(&self, runs: usize) -> Result<f64> {
        let times = (0..3 + runs).map(|_| self.once()).collect::<Result<Vec<_>>>()?;
        let mut times = times[3..].to_vec();
        times.sort();
        Ok(times[times.len() / 2].as_secs_f64() * 1e3)
    }

    /// A turn per line; where there is no line to read, one turn.
    fn take_turns(&self, out: &mut Stdout) -> Result<()> {
        out.line("ready")?;
        let mut turns = 0;
        for line in std::io::stdin().lock().lines() {
            line.context("cannot read stdin")?;
            self.turn(out)?;
            turns += 1;
        }
        if turns == 0 {
            self.turn(out)?;
        }
        Ok(())
    }

    fn turn(&self, out: &mut Stdout) -> Result<()> {
        std::thread::sleep(Duration::from_millis(30));
        self.once()?;
        let mut times = [self.once()?, self.once()?, self.once()?];
        times.sort();
        out.line(&format!("{:.4}", times[1].as_secs_f64() * 1e3))
    }

    fn profile(&self) -> Result<Vec<OpTiming>> {
        Ok(match &self.network {
            Network::Classifier(net) => net.profile(&self.xs)?,
            Network::Detector(net) => net.profile(&self.xs)?,
        })
    }

    /// The steps of one image, the median of several runs each.
    fn print_profile(&self, out: &mut Stdout) -> Result<()> {
        if self.engine == Engine::Stock {
            bail!("--profile shows the steps of a plan; candle's own operations have none");
        }
        const RUNS: usize = 21;
        let runs: Vec<Vec<OpTiming>> = (0..RUNS).map(|_| self.profile()).collect::<Result<_>>()?;
        let mut table = Table::new(&["step", "kernel", "us", "share %", "GFLOP/s", "GB/s"], 2);
        let median = |step: usize| {
            let mut times: Vec<f64> = runs.iter().map(|run| run[step].time.as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        };
        let times: Vec<f64> = (0..runs[0].len()).map(median).collect();
        let total: f64 = times.iter().sum();
        for (step, time) in runs[0].iter().zip(times) {
            table.row(vec![
                step.name.clone(),
                step.kernel.clone(),
                format!("{:.1}", time * 1e6),
                format!("{:.1}", 100. * time / total),
                format!("{:.1}", 2. * step.macs as f64 / time / 1e9),
                format!("{:.1}", step.bytes as f64 / time / 1e9),
            ]);
        }
        for line in table.lines() {
            out.line(&line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_machine_is_never_above_all_of_it() {
        for (flops, measured, expected) in [
            (164.3e9, 219.1e9, "164.3 GFLOP/s of the layers' definition, 75 % of the machine's 219.1"),
            (219.1e9, 219.1e9, "219.1 GFLOP/s of the layers' definition, 100 % of the machine's 219.1"),
            (313.3e9, 219.1e9, "313.3 GFLOP/s of the layers' definition, peak not known on this machine right now"),
        ] {
            assert_eq!(told(flops, known_peak(measured, flops)), expected);
        }
    }
}
