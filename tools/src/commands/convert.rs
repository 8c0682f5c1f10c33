//! `ghostzoo convert`: any readable checkpoint as safetensors.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use ghostzoo_weights::CheckpointSource;

use crate::cli::{ConvertArgs, GlobalArgs, bytes};
use crate::error::usage;
use crate::model;
use crate::output::{Stdout, grouped};
use ghostzoo::Network;
use ghostzoo::{Architecture, ModelSpec};

/// Reads, converts and writes a checkpoint.
pub(crate) fn run(args: &ConvertArgs, global: &GlobalArgs) -> Result<()> {
    if args.output.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(usage(format!("{} must end in .safetensors, the format that is written", args.output.display())));
    }
    let found = model::find(&args.input, global, false)?;
    let is_same = |a: &std::path::Path, b: &std::path::Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if let CheckpointSource::File(path) = &found.origin
        && is_same(path, &args.output)
    {
        return Err(usage("IN and OUT are the same file; give OUT another name"));
    }
    // Also a link that leads nowhere: to write would replace it.
    if !args.force && args.output.symlink_metadata().is_ok() {
        let output = args.output.display();
        return Err(usage(format!("{output} exists; give OUT another name, or --force to write over it")));
    }
    ghostzoo_files::sweep(&args.output)?;
    let mut checkpoint = ghostzoo::model::read(&found)?;
    let input = bytes::shown(&args.input);
    if args.fuse || global.arch.is_some() {
        let spec = ModelSpec::of_checkpoint(&checkpoint, global.arch.as_deref())
            .with_context(|| format!("cannot use {input}"))?;
        ghostzoo::model::check(&input, &spec, &checkpoint)?;
        if let Architecture::Classifier(config) = &spec.architecture {
            checkpoint.metadata.arch.get_or_insert_with(|| config.variant.name.to_owned());
        }
        if args.fuse {
            checkpoint.tensors =
                match ghostzoo::model::build(&spec.architecture, &checkpoint, DType::F32, &Device::Cpu)? {
                    Network::Detector(network) => network.tensors(),
                    Network::Classifier(network) => network.tensors(),
                };
            checkpoint.metadata.fused = true;
        }
    }
    // For PyTorch, whose strict loading asks for them.
    let bins = candle_yolov8::absent_bins(&checkpoint.tensors)?;
    checkpoint.tensors.extend(bins);
    if let Some(dtype) = global.dtype {
        let named = dtype.named().ok_or_else(|| usage("--dtype auto says what to compute in: name a type to store"))?;
        checkpoint = checkpoint.to_dtype(named)?;
    }
    ghostzoo_weights::write(&args.output, &checkpoint)?;
    let count = checkpoint.tensors.values().map(|tensor| tensor.elem_count()).sum();
    let summary =
        format!("{}: {} tensors, {} elements", args.output.display(), checkpoint.tensors.len(), grouped(count));
    if global.quiet { Ok(()) } else { Stdout::new().line(&summary) }
}
