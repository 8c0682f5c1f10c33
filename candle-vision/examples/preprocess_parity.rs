//! Writes what this crate makes of every picture of a folder, for `tests/oracle/image.py parity` to compare with PIL and
//! cv2: `preprocess_parity IN_DIR OUT_DIR` writes NAME.{decoded,bicubic,bilinear,cv2}.png per picture.

use std::path::Path;

use candle_vision::image::{ClassifyTransform, Interpolation, Letterbox, open, resize, resize_bilinear, save};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: preprocess_parity IN_DIR OUT_DIR".into());
    };
    for entry in std::fs::read_dir(input)? {
        let path = entry?.path();
        let picture = open(&path)?;
        let original = [picture.height() as usize, picture.width() as usize];
        let short_256 = ClassifyTransform::default().resized(original);
        let write = |kind: &str, picture: &_| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            save(picture, &Path::new(&output).join(format!("{stem}.{kind}.png")))
        };
        write("decoded", &picture)?;
        write("bicubic", &resize(&picture, short_256, Interpolation::Bicubic))?;
        write("bilinear", &resize(&picture, short_256, Interpolation::Bilinear))?;
        write("cv2", &resize_bilinear(&picture, Letterbox::new([640, 640]).plan(original).resized))?;
    }
    Ok(())
}
