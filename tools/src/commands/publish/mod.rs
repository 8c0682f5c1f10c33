//! `ghostzoo publish`: a folder for the Hub.

mod card;
mod config;
mod licence;
mod metrics;

use std::path::Path;

use anyhow::{Context, Result};
use ghostzoo::{Architecture, ModelSpec};
use ghostzoo_files::PendingFolder;
use ghostzoo_weights::Checkpoint;

use crate::cli::{GlobalArgs, PublishArgs, bytes};
use crate::error::usage;
use crate::files;
use crate::model;
use crate::output::{Stdout, grouped};

use card::Card;
use licence::Licence;
use metrics::Metrics;

/// Writes the folder whole or not at all.
pub(crate) fn run(args: &PublishArgs, global: &GlobalArgs) -> Result<()> {
    let folder = &args.output;
    let shown = folder.display();
    let name = named(args)?;
    let word = |text: &str| shlex::try_quote(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned);
    let upload = format!("hf upload {} {}", word(&name), word(&shown.to_string()));
    if !args.dry_run {
        return Err(usage(format!(
            "`publish` uploads nothing itself: write the folder with --dry-run, then `{upload}` uploads it"
        )));
    }
    // Also a link that leads nowhere.
    if folder.symlink_metadata().is_ok() {
        return Err(usage(format!("{shown} exists; give --output a folder that does not")));
    }
    let model = model::required(args.model.as_deref())?;
    let found = model::find(model, global, false)?;
    let mut checkpoint = ghostzoo::model::read(&found)?;
    let said = bytes::shown(model);
    let spec =
        ModelSpec::of_checkpoint(&checkpoint, global.arch.as_deref()).with_context(|| format!("cannot use {said}"))?;
    ghostzoo::model::check(&said, &spec, &checkpoint)?;
    let is_classifier = matches!(spec.architecture, Architecture::Classifier(_));
    let theirs = checkpoint.metadata.licence.as_deref();
    let licence = Licence::of(args.license.as_deref(), theirs, args.license_file.as_deref())?;
    if args.metrics.is_some() && args.dataset.is_none() {
        return Err(usage("the Hub shows metrics with what they were measured on: give --dataset beside --metrics"));
    }
    let metrics = args.metrics.as_deref().map(|path| Metrics::read(path, is_classifier)).transpose()?;
    // For PyTorch, whose strict loading asks for them.
    let bins = candle_yolov8::absent_bins(&checkpoint.tensors)?;
    checkpoint.tensors.extend(bins);
    let classes = complete(&mut checkpoint, &spec, global)?;
    checkpoint.metadata.licence = Some(licence.id.clone());
    let config = config::of(&checkpoint, &spec, &classes)?;
    let card = Card {
        name: &name,
        metadata: &checkpoint.metadata,
        spec: &spec,
        classes: &classes,
        licence: &licence,
        dataset: args.dataset.as_deref(),
        split: args.split.as_deref(),
        attribution: args.attribution.as_deref(),
        metrics: metrics.as_ref(),
    };
    let texts = [
        ("README.md", card.text()?),
        ("config.json", serde_json::to_string_pretty(&config)? + "\n"),
        ("LICENSE", licence.file(&name, args.attribution.as_deref())),
    ];
    write(folder, &checkpoint, &texts)?;
    if global.quiet {
        return Ok(());
    }
    let elements = checkpoint.tensors.values().map(|tensor| tensor.elem_count()).sum();
    let mut out = Stdout::new();
    out.line(&format!(
        "{shown}: README.md, model.safetensors of {} elements, config.json, LICENSE",
        grouped(elements)
    ))?;
    status!("note: nothing is uploaded; `{upload}` does that");
    Ok(())
}

/// What the model is called on the Hub.
fn named(args: &PublishArgs) -> Result<String> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let folder = args.output.file_name().and_then(|name| name.to_str());
            folder.ok_or_else(|| usage("the folder's name is none for the Hub: give --name"))?.to_owned()
        }
    };
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=96).contains(&part.len())
            && part.bytes().all(is_plain)
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    // The rule of huggingface_hub's `validate_repo_id`.
    let is_name =
        name.len() <= 96 && !name.ends_with(".git") && name.split('/').count() <= 2 && name.split('/').all(is_part);
    match is_name {
        true => Ok(name),
        false => Err(usage(format!(
            "`{name}` is no name of the Hub, which has letters, digits, `-`, `_` and `.`: give --name ORGANISATION/NAME"
        ))),
    }
}

/// Has the file say what it is, without folders of its maker. The names of the classes; none where only numbers are known.
fn complete(checkpoint: &mut Checkpoint, spec: &ModelSpec, global: &GlobalArgs) -> Result<Vec<String>> {
    let (shapes, classes) = (checkpoint.shapes(), spec.num_classes());
    let metadata = &mut checkpoint.metadata;
    let task = match &spec.architecture {
        Architecture::Classifier(config) => {
            metadata.arch.get_or_insert_with(|| config.variant.name.to_owned());
            "classify"
        }
        Architecture::Detector(_) => {
            if metadata.arch.is_none() {
                let by_shapes = || candle_yolov8::config_from_shapes(&shapes).map(|(name, _)| name);
                let given = global.arch.as_deref().map(bytes::shown);
                metadata.arch = given.or_else(by_shapes);
            }
            "detect"
        }
    };
    metadata.task = Some(task.to_owned());
    metadata.nc = Some(classes);
    if let Some(args) = metadata.train_args.take().filter(serde_json::Value::is_object) {
        metadata.train_args = Some(ghostzoo::train::without_folders(&args)?);
    }
    if let Some(arch) = metadata.arch.take() {
        // A yaml of one's own, by its name alone.
        let last = Path::new(&arch).file_name().map(|name| name.to_string_lossy().into_owned());
        metadata.arch = last.or(Some(arch));
    }
    let names = metadata.names.clone().filter(|names| names.len() == classes);
    Ok(names.unwrap_or_else(|| match task {
        "classify" => ghostzoo::imagenet_class_names(classes),
        _ => Vec::new(),
    }))
}

fn write(folder: &Path, checkpoint: &Checkpoint, texts: &[(&str, String)]) -> Result<()> {
    let failed = || format!("cannot write {}", folder.display());
    ghostzoo_files::sweep_folders(folder)?;
    let pending = PendingFolder::create(folder).with_context(failed)?;
    ghostzoo_weights::write(&pending.path().join("model.safetensors"), checkpoint).with_context(failed)?;
    for (name, text) in texts {
        files::write(&pending.path().join(name), text.as_bytes()).with_context(failed)?;
    }
    pending.finish().with_context(failed)
}
