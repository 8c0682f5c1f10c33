//! Writes the pixels of files to stdout, for `tests/oracle/decode.py` to compare with Pillow and OpenCV:
//! `decode_raw pillow|opencv FILE...` writes for each `WIDTH HEIGHT` or `WIDTH HEIGHT WARNING` and RGB bytes, or `error WHY`.

use std::io::Write;
use std::path::Path;

use candle_vision::image::{DecodeOptions, open_with};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let options = match arguments.next().as_deref() {
        Some("pillow") => DecodeOptions::stored(),
        Some("opencv") => DecodeOptions::default(),
        _ => return Err("usage: decode_raw pillow|opencv FILE...".into()),
    };
    let mut out = std::io::stdout().lock();
    for file in arguments {
        match open_with(Path::new(&file), &options) {
            Ok(decoded) => {
                let (width, height) = decoded.image.dimensions();
                writeln!(out, "{width} {height} {}", decoded.warning.unwrap_or_default())?;
                out.write_all(decoded.image.as_raw())?;
            }
            Err(error) => writeln!(out, "error {}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}
