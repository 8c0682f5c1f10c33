//! `ghostzoo classify`: what an image shows.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Tensor};
use ghostzoo_weights::Task;

use crate::cli::{ClassifyArgs, GlobalArgs};
use crate::error::{self, SomeFailed};
use crate::output::{FrameNotes, JsonClass, JsonError, JsonTop, MeanSpeed, Speed, Stdout, milliseconds, shown};
use crate::reader::{self, Item, ReadOptions};
use crate::request::PredictRequest;
use crate::source::Media;
use ghostzoo::video::VideoOptions;
use ghostzoo::{Classifier, Probability, TopK};

/// Classifies every image that the arguments name, or the one that is built in.
pub(crate) fn run(args: &ClassifyArgs, global: &GlobalArgs) -> Result<()> {
    let PredictRequest { choice, entries } =
        PredictRequest::of(Task::Classify, args.model.as_deref(), &args.sources, Media::Images)?;
    let device = global.open(global.quiet)?;
    let loaded = choice.load(global, &device, args.json)?;
    let classifier = Classifier::of(loaded)?;
    let transform = classifier.transform().clone();
    let mut run = Run {
        args,
        quiet: global.quiet,
        classifier,
        out: Stdout::new(),
        total: entries.len(),
        done: 0,
        failed: 0,
        speeds: MeanSpeed::default(),
        last_shape: [0; 4],
        frames: FrameNotes::default(),
    };
    let options = ReadOptions {
        batch: args.batch,
        on_all_threads: !device.is_cpu(),
        decode: args.largest.stored(),
        video: VideoOptions::new(),
    };
    let reader = reader::read(entries, options)?;
    for batch in reader.batches(Arc::new(move |image| Ok(transform.apply(image, &Device::Cpu)?))) {
        run.batch(batch?.items)?;
    }
    run.frames.close();
    if !args.json && !global.quiet && !run.speeds.is_empty() {
        run.out.line(&run.speeds.line(run.last_shape))?;
    }
    if run.failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
}

/// The state of a run over all images.
struct Run<'a> {
    args: &'a ClassifyArgs,
    quiet: bool,
    classifier: Classifier,
    out: Stdout,
    total: usize,
    done: usize,
    failed: usize,
    speeds: MeanSpeed,
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
                    self.speeds.add(Speed { preprocess, ..speed });
                    self.show(&label, rankings.next())?;
                }
                Err(error) => self.fail(&label, &error)?,
            }
        }
        Ok(())
    }

    fn rank(&mut self, inputs: &[&Tensor]) -> Result<(Vec<TopK>, Speed)> {
        let [channels, height, width] = inputs[0].dims3().map(|(c, h, w)| [c, h, w])?;
        self.last_shape = [inputs.len(), channels, height, width];
        let (ranked, speed) = self.classifier.predict_prepared(inputs)?;
        let speed = Speed {
            preprocess: milliseconds(speed.preprocess),
            inference: milliseconds(speed.inference),
            postprocess: milliseconds(speed.postprocess),
        };
        Ok((ranked, speed.shared(inputs.len())))
    }

    fn show(&mut self, label: &str, ranked: Option<TopK>) -> Result<()> {
        let class = |&Probability { class_id, probability }: &Probability| JsonClass {
            class_id,
            class: self.classifier.class_name(class_id),
            probability,
        };
        let ranked = ranked.as_ref().map(|ranked| ranked.top(self.args.topk)).unwrap_or_default();
        let top: Vec<JsonClass> = ranked.iter().map(class).collect();
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
