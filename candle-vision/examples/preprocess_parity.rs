//! Writes what this crate makes of every image of a folder, for `tests/oracle/image.py parity` to compare with PIL and
//! cv2: `preprocess_parity IN_DIR OUT_DIR` writes NAME.{decoded,bicubic,bilinear,cv2}.png per image.

use std::path::Path;

use candle_vision::image::{EvalTransform, Interpolation, Letterbox, open, resize, resize_bilinear, save};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: preprocess_parity IN_DIR OUT_DIR".into());
    };
    for entry in std::fs::read_dir(input)? {
        let path = entry?.path();
        let image = open(&path)?;
        let original = [image.height() as usize, image.width() as usize];
        let short_256 = EvalTransform::default().resized(original);
        let write = |kind: &str, image: &_| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            save(image, &Path::new(&output).join(format!("{stem}.{kind}.png")))
        };
        write("decoded", &image)?;
        write("bicubic", &resize(&image, short_256, Interpolation::Bicubic))?;
        write("bilinear", &resize(&image, short_256, Interpolation::Bilinear))?;
        write("cv2", &resize_bilinear(&image, Letterbox::new([640, 640]).plan(original).resized))?;
    }
    Ok(())
}
