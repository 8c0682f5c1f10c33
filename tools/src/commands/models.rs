//! `ghostzoo models`: every name that `--model` and `--arch` know.

use anyhow::Result;
use ghostzoo_weights::{Location, ModelEntry, Registry, Task};
use serde_json::json;

use crate::assets;
use crate::cli::ModelsArgs;
use crate::output::{Stdout, Table, grouped};

/// Prints the registry, then the architectures without weights.
pub(crate) fn run(args: &ModelsArgs) -> Result<()> {
    let registry = Registry::builtin();
    let weightless = ghostzoo::architectures().into_iter().filter(|name| registry.find(name).is_none());
    let mut out = Stdout::new();
    if args.json {
        for entry in registry.entries() {
            out.json(&json_row(entry))?;
        }
        for name in weightless {
            out.json(&json!({ "model": name, "weights": false }))?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["model", "task", "licence", "source", "parameters", "published"], 4);
    for entry in registry.entries() {
        let task = if entry.task == Task::Detect { "detect" } else { "classify" };
        table.row(vec![
            entry.name.clone(),
            task.to_owned(),
            entry.licence.clone(),
            source(entry).to_owned(),
            grouped(entry.parameters as usize),
            published(entry),
        ]);
    }
    for line in table.lines() {
        out.line(&line)?;
    }
    out.line("")?;
    out.line("Bundled models are built in and need no network:")?;
    for task in [Task::Detect, Task::Classify] {
        for entry in registry.shipped(task) {
            out.line(&format!("  {}", assets::described(entry)?))?;
            if let Some(attribution) = &entry.attribution {
                out.line(&format!("    attribution: {attribution}"))?;
            }
        }
    }
    out.line("")?;
    out.line("Architectures without published weights (train one, or load your own checkpoint):")?;
    for names in weightless.collect::<Vec<_>>().chunks(5) {
        out.line(&format!("  {}", names.join("  ")))?;
    }
    Ok(())
}

/// The repository, or `shipped`.
fn source(entry: &ModelEntry) -> &str {
    match &entry.place {
        Location::Hub { repo, .. } => repo,
        Location::Bundled { .. } => "shipped",
    }
}

fn published(entry: &ModelEntry) -> String {
    let published = &entry.published;
    match (published.top1, published.map50_95) {
        (Some(top1), _) => format!("top-1 {top1:.1} %"),
        (_, Some(map)) => format!("mAP50-95 {map:.1} %"),
        _ => String::new(),
    }
}

fn json_row(entry: &ModelEntry) -> serde_json::Value {
    let published = &entry.published;
    let (source, repo, revision, file) = match &entry.place {
        Location::Hub { repo, revision, file } => ("hub", Some(repo), Some(revision), file),
        Location::Bundled { file } => ("shipped", None, None, file),
    };
    json!({
        "model": entry.name, "weights": true, "architecture": entry.architecture, "source": source, "repository": repo,
        "revision": revision, "file": file, "licence": entry.licence, "attribution": entry.attribution,
        "sha256": entry.sha256, "size_bytes": entry.size_bytes, "parameters": entry.parameters, "num_classes": entry.num_classes,
        "published": {"top1": published.top1, "top5": published.top5, "map50_95": published.map50_95},
    })
}
