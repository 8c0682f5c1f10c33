//! Rows of numbers as numpy reads them.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ghostzoo_files::Pending;

/// A growing `.npy` file of f32 rows: format 1.0, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
/// It appears when it is whole.
pub(super) struct Npy {
    path: PathBuf,
    file: BufWriter<Pending>,
}

impl Npy {
    /// A file of `rows` rows of `columns`.
    pub(super) fn create(path: &Path, rows: usize, columns: usize) -> Result<Self> {
        let file = Pending::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        // The data starts at a multiple of 64 bytes; ten come before the header, a line feed ends it.
        let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
        header.push_str(&" ".repeat(length - header.len() - 1));
        header.push('\n');
        let written = file
            .write_all(b"\x93NUMPY\x01\x00")
            .and_then(|()| file.write_all(&(length as u16).to_le_bytes()))
            .and_then(|()| file.write_all(header.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Adds numbers.
    pub(super) fn write(&mut self, values: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all(&bytes).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Puts the file in its place.
    pub(super) fn finish(self) -> Result<()> {
        let write = || -> Result<()> {
            let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            Ok(file.finish()?)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_candle_reads() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("logits.npy");
        let mut file = Npy::create(&path, 2, 3)?;
        file.write(&[1., 2., 3.])?;
        assert!(!path.exists(), "not before it is whole");
        file.write(&[4., 5., f32::NAN])?;
        file.finish()?;
        let read = candle_core::Tensor::read_npy(&path)?.to_vec2::<f32>()?;
        assert_eq!((&read[0][..], &read[1][..2], read[1][2].is_nan()), (&[1., 2., 3.][..], &[4., 5.][..], true));
        Ok(())
    }
}
