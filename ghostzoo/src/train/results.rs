//! `results.csv`: one row per epoch, in Ultralytics' columns and digits.

use crate::error::{Context as _, Result, ensure};

/// A table of numbers under names, the first of which is `epoch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Results {
    /// An empty table behind the columns `epoch` and `time`.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: ["epoch", "time"].map(str::to_owned).into_iter().chain(names).collect(), rows: Vec::new() }
    }

    /// Adds an epoch, from 1, that ended `seconds` after the run began.
    ///
    /// # Errors
    /// Where there is not a value for each column.
    pub(super) fn push(&mut self, epoch: usize, seconds: f64, values: &[f64]) -> Result<()> {
        let row: Vec<f64> = [epoch as f64, seconds].into_iter().chain(values.iter().copied()).collect();
        let [values, columns] = [row.len(), self.names.len()].map(|count| count - 2);
        ensure!(values == columns, "the task gave {values} values of an epoch, for {columns} columns");
        self.rows.push(row);
        Ok(())
    }

    /// Reads what [`Results::text`] wrote.
    pub(super) fn from_text(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let names: Vec<String> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let mut rows = Vec::new();
        for line in lines {
            let row: Option<Vec<f64>> = line.split(',').map(|number| number.parse().ok()).collect();
            let row = row.filter(|row| row.len() == names.len());
            rows.push(row.with_context(|| format!("`{line}` is no row of {} numbers", names.len()))?);
        }
        ensure!(names.first().is_some_and(|name| name == "epoch"), "the first column is not `epoch`");
        Ok(Self { names, rows })
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = self.names.join(",");
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.iter().map(|value| general(*value)).collect::<Vec<_>>().join(","));
        }
        text.push('\n');
        text
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The last row.
    pub fn last(&self) -> Option<&[f64]> {
        self.rows.last().map(Vec::as_slice)
    }

    /// The rows, one an epoch: a value per name.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }
}

/// A number with six significant digits, as C's `%.6g` writes it.
fn general(value: f64) -> String {
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
        results.push(1, 12.25, &[1.5, 0.01])?;
        results.push(2, 25., &[f64::NAN, 0.0001])?;
        assert!(results.push(3, 26., &[1.]).is_err(), "a value is missing");
        assert_eq!(results.text(), "epoch,time,train/box_loss,lr/pg0\n1,12.25,1.5,0.01\n2,25,nan,0.0001\n");
        let again = Results::from_text(&results.text())?;
        assert_eq!(again.text(), results.text());
        assert_eq!((again.rows().len(), again.last().map(|row| row[3])), (2, Some(0.0001)));
        assert!(Results::from_text("a,b\n1,2\n").is_err());
        Ok(())
    }
}
