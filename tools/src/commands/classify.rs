//! `ghostzoo classify`: what an image shows.

use std::time::Instant;

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_ghostnet::{GhostNet, Layer};
use candle_vision::image::RgbImage;
use ghostzoo_weights::Task;

use crate::cli::{ClassifyArgs, GlobalArgs};
use crate::error::{self, SomeFailed, usage};
use crate::model::Network;
use crate::output::{
    FrameNotes, JsonClass, JsonError, JsonTop, Speed, Stdout, class_name, milliseconds, shown, speed_line,
};
use crate::reader::{Item, Reader};
use crate::request::PredictRequest;

/// Classifies every image that the arguments name, or the one that is built in.
pub(crate) fn run(args: &ClassifyArgs, global: &GlobalArgs) -> Result<()> {
    let PredictRequest { choice, entries } = PredictRequest::of(Task::Classify, args.model.as_deref(), &args.sources)?;
    let device = global.open(global.quiet)?;
    let loaded = choice.load(global, &device, args.json)?;
    let Network::Classifier(network) = &loaded.network else {
        return Err(usage(format!("{} is a detector; use `ghostzoo detect`", loaded.name)));
    };
    let transform = loaded.transform.clone();
    let mut run = Run {
        args,
        quiet: global.quiet,
        names: &loaded.class_names,
        network,
        device: &device,
        dtype: global.dtype(),
        out: Stdout::new(),
        total: entries.len(),
        done: 0,
        failed: 0,
        speeds: Vec::new(),
        last_shape: [0; 4],
        frames: FrameNotes::default(),
    };
    let mut reader = Reader::start(entries, args.batch, !device.is_cpu(), args.largest.stored(), move || {
        let transform = transform.clone();
        move |image: &RgbImage| Ok(transform.apply(image, &Device::Cpu)?)
    })?;
    while let Some(items) = reader.next()? {
        run.batch(items)?;
    }
    run.frames.close();
    if !args.json && !global.quiet && !run.speeds.is_empty() {
        run.out.line(&speed_line(&run.speeds, run.last_shape))?;
    }
    if run.failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
}

/// Classes with their probabilities, the likeliest first.
type Ranking = Vec<(usize, f32)>;

/// The state of a run over all images.
struct Run<'a> {
    args: &'a ClassifyArgs,
    quiet: bool,
    names: &'a [String],
    network: &'a GhostNet,
    device: &'a Device,
    dtype: DType,
    out: Stdout,
    total: usize,
    done: usize,
    failed: usize,
    speeds: Vec<Speed>,
    last_shape: [usize; 4],
    frames: FrameNotes,
}

impl Run<'_> {
    /// One forward pass, then the results in order.
    fn batch(&mut self, items: Vec<Item<Tensor>>) -> Result<()> {
        self.total += items.iter().filter(|item| item.follows).count();
        let inputs: Vec<&Tensor> = items.iter().filter_map(|item| Some(&item.ready.as_ref().ok()?.prepared)).collect();
        let (rankings, speed) = if inputs.is_empty() { Default::default() } else { self.rank(&inputs)? };
        let mut rankings = rankings.into_iter();
        for Item { label, ready, .. } in items {
            self.done += 1;
            match ready {
                Ok(ready) => {
                    if let Some(warning) = ready.warning.filter(|_| !self.quiet) {
                        status!("note: {}: {warning}", shown(&label));
                    }
                    if !self.quiet {
                        self.frames.add(&label, ready.frames);
                    }
                    let preprocess = speed.preprocess + milliseconds(ready.preprocess);
                    self.speeds.push(Speed { preprocess, ..speed });
                    self.show(&label, rankings.next().unwrap_or_default())?;
                }
                Err(error) => self.fail(&label, &error)?,
            }
        }
        Ok(())
    }

    fn rank(&mut self, inputs: &[&Tensor]) -> Result<(Vec<Ranking>, Speed)> {
        let start = Instant::now();
        let xs = Tensor::stack(inputs, 0)?.to_device(self.device)?.to_dtype(self.dtype)?;
        self.last_shape = xs.dims4().map(|(n, c, h, w)| [n, c, h, w])?;
        let preprocess = milliseconds(start.elapsed());
        let start = Instant::now();
        let logits = self.network.forward(&xs)?;
        self.device.synchronize()?;
        let inference = milliseconds(start.elapsed());
        let start = Instant::now();
        let probabilities = candle_nn::ops::softmax(&logits.to_dtype(DType::F32)?, D::Minus1)?.to_vec2::<f32>()?;
        let ranking = |row: Vec<f32>| {
            let mut ranking: Ranking = row.into_iter().enumerate().collect();
            ranking.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            ranking.truncate(self.args.topk);
            ranking
        };
        let rankings = probabilities.into_iter().map(ranking).collect();
        let speed = Speed { preprocess, inference, postprocess: milliseconds(start.elapsed()) };
        Ok((rankings, speed.shared(inputs.len())))
    }

    fn show(&mut self, label: &str, ranking: Ranking) -> Result<()> {
        let class =
            |(class_id, probability)| JsonClass { class_id, class: class_name(self.names, class_id), probability };
        let top: Vec<JsonClass> = ranking.into_iter().map(class).collect();
        if self.args.json {
            return self.out.json(&JsonTop { path: label, top });
        }
        // Names list synonyms after commas: the first is enough to read.
        let short = |class: &JsonClass| {
            let name = class.class.split(',').next().unwrap_or_default();
            format!("{} {:.2}", shown(name), class.probability)
        };
        let classes: Vec<String> = top.iter().map(short).collect();
        self.out.line(&format!("image {}/{} {}: {}", self.done, self.total, shown(label), classes.join(", ")))
    }

    fn fail(&mut self, label: &str, error: &anyhow::Error) -> Result<()> {
        self.failed += 1;
        let error = error::text(error);
        status!("error: {}: {error}", shown(label));
        if self.args.json {
            self.out.json(&JsonError { path: label, error: &error })?;
        }
        Ok(())
    }
}
