//! `results.csv`: one row per epoch, in Ultralytics' columns and digits.

use anyhow::{Context, Result, ensure};
use candle_vision::image::RgbImage;

use crate::plot;

/// A table of numbers under names, the first of which is `epoch`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Results {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Results {
    /// An empty table behind the columns `epoch` and `time`.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: ["epoch", "time"].map(str::to_owned).into_iter().chain(names).collect(), rows: Vec::new() }
    }

    /// Adds an epoch, from 1, that ended `seconds` after the run began.
    pub(crate) fn push(&mut self, epoch: usize, seconds: f64, values: &[f64]) {
        let row: Vec<f64> = [epoch as f64, seconds].into_iter().chain(values.iter().copied()).collect();
        assert_eq!(row.len(), self.names.len(), "a value per column");
        self.rows.push(row);
    }

    /// Reads what [`Results::text`] wrote.
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let row: Vec<f64> = record?.iter().map(str::parse).collect::<std::result::Result<_, _>>()?;
            rows.push(row);
        }
        ensure!(names.first().is_some_and(|name| name == "epoch"), "the first column is not `epoch`");
        Ok(Self { names, rows })
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = self.names.join(",");
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.iter().map(|value| general(*value)).collect::<Vec<_>>().join(","));
        }
        text.push('\n');
        text
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The last row.
    pub(crate) fn last(&self) -> Option<&[f64]> {
        self.rows.last().map(Vec::as_slice)
    }

    /// How many epochs it holds.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// `results.png`.
    pub(crate) fn draw(&self) -> Result<RgbImage> {
        let column = |index: usize| self.rows.iter().map(|row| row[index]).collect::<Vec<f64>>();
        let columns: Vec<Vec<f64>> = (0..self.names.len()).map(column).collect();
        let named: Vec<(&str, &[f64])> =
            self.names.iter().zip(&columns).map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        plot::training_curves(columns.first().context("no columns")?, &named)
    }
}

/// A number with six significant digits, as C's `%.6g` writes it.
pub(crate) fn general(value: f64) -> String {
    if value == 0. {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    if !value.is_finite() {
        return if value.is_nan() {
            "nan".to_owned()
        } else if value > 0. {
            "inf".to_owned()
        } else {
            "-inf".to_owned()
        };
    }
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        return trimmed(&format!("{value:.*}", (5 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Python: `"%.6g" % value`.
    #[test]
    fn numbers_look_as_c_prints_them() {
        for (value, expected) in [
            (0.01, "0.01"),
            (1234567.0, "1.23457e+06"),
            (123456.4, "123456"),
            (0.000123456789, "0.000123457"),
            (0.0000123456789, "1.23457e-05"),
            (2.5, "2.5"),
            (100.0, "100"),
            (-0.333333333, "-0.333333"),
            (999999.5, "1e+06"),
            (1e-100, "1e-100"),
            (0.0, "0"),
        ] {
            assert_eq!(general(value), expected, "{value}");
        }
    }

    #[test]
    fn a_table_reads_back() -> Result<()> {
        let mut results = Results::new(["train/box_loss", "lr/pg0"].map(str::to_owned));
        results.push(1, 12.25, &[1.5, 0.01]);
        results.push(2, 25., &[f64::NAN, 0.0001]);
        assert_eq!(results.text(), "epoch,time,train/box_loss,lr/pg0\n1,12.25,1.5,0.01\n2,25,nan,0.0001\n");
        let again = Results::from_text(&results.text())?;
        assert_eq!(again.text(), results.text());
        assert_eq!((again.len(), again.last().map(|row| row[3])), (2, Some(0.0001)));
        assert!(Results::from_text("a,b\n1,2\n").is_err());
        Ok(())
    }
}
