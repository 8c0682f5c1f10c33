//! `ghostzoo summary`: the size of models, side by side.

use anyhow::Result;
use serde_json::json;

use crate::cli::{GlobalArgs, SummaryArgs, bytes};
use crate::output::{Stdout, Table, grouped};
use ghostzoo::{Architecture, ModelSize};

/// Shown where a cell has no meaning.
const NONE: &str = "";

/// The size of one form of a model.
struct Row {
    name: String,
    size: ModelSize,
    input_size: [usize; 2],
}

impl Row {
    fn gflops(&self) -> f64 {
        self.size.flops as f64 / 1e9
    }

    /// [`Row::gflops`] with one decimal, below 1 with three.
    fn gflops_text(&self) -> String {
        let gflops = self.gflops();
        if gflops < 1. { format!("{gflops:.3}") } else { format!("{gflops:.1}") }
    }

    /// [`Row::gflops_text`] as a number.
    fn gflops_shown(&self) -> f64 {
        self.gflops_text().parse().unwrap_or(f64::NAN)
    }
}

/// Prints the table.
pub(crate) fn run(args: &SummaryArgs, global: &GlobalArgs) -> Result<()> {
    let mut rows = Vec::new();
    for model in &args.models {
        let architecture = Architecture::of(model, args.nc, global.arch.as_deref())?;
        let input_size = args.imgsz.unwrap_or_else(|| architecture.default_input_size());
        for (form, size) in architecture.sizes(input_size)? {
            let model = bytes::shown(model);
            let name = if form.is_empty() { model } else { format!("{model} ({form})") };
            rows.push(Row { name, size, input_size });
        }
    }
    let mut out = Stdout::new();
    if args.json {
        for row in &rows {
            out.json(&json_row(row, &rows[0]))?;
        }
        return Ok(());
    }
    for line in table(&rows).lines() {
        out.line(&line)?;
    }
    Ok(())
}

/// Per cent by which `value` differs from `first`.
fn difference(value: f64, first: f64) -> f64 {
    (value - first) / first * 100.
}

fn table(rows: &[Row]) -> Table {
    let mut headings = vec!["model", "layers", "modules", "parameters", "gradients", "GFLOPs", "input"];
    if rows.len() > 1 {
        headings.extend(["parameters", "GFLOPs"]);
    }
    let mut table = Table::new(&headings, 1);
    for (index, row) in rows.iter().enumerate() {
        let [height, width] = row.input_size;
        let mut cells = vec![
            row.name.clone(),
            row.size.modules.leaves.to_string(),
            row.size.modules.all.to_string(),
            grouped(row.size.parameters),
            grouped(row.size.gradients),
            row.gflops_text(),
            format!("{height}x{width}"),
        ];
        if index > 0 {
            let signed = |value: f64, first: f64| format!("{:+.2} %", difference(value, first)).replace('-', "−");
            cells.push(signed(row.size.parameters as f64, rows[0].size.parameters as f64));
            cells.push(signed(row.gflops_shown(), rows[0].gflops_shown()));
        } else if rows.len() > 1 {
            cells.extend([NONE.to_owned(), NONE.to_owned()]);
        }
        table.row(cells);
    }
    table
}

fn json_row(row: &Row, first: &Row) -> serde_json::Value {
    let rounded = |value: f64| (value * 100.).round() / 100.;
    json!({
        "model": row.name,
        "layers": row.size.modules.leaves,
        "modules": row.size.modules.all,
        "parameters": row.size.parameters,
        "gradients": row.size.gradients,
        "gflops": row.gflops(),
        "input_size": row.input_size,
        "difference_percent": {
            "parameters": rounded(difference(row.size.parameters as f64, first.size.parameters as f64)),
            "gflops": rounded(difference(row.gflops(), first.gflops())),
        },
    })
}
