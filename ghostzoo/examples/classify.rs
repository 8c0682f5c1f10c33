//! What images show: `cargo run --release --example classify -- [MODEL [IMAGE…]]`.

use std::path::{Path, PathBuf};

use ghostzoo::{Classifier, Result};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let model = args.next().unwrap_or_else(|| "ghostnet_050-cifar10".into());
    let mut images: Vec<PathBuf> = args.map(PathBuf::from).collect();
    if images.is_empty() {
        images.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/freighter.jpg"));
    }
    print!("{}", run(Path::new(&model), &images)?);
    Ok(())
}

/// One line per image: its name and the three likeliest classes.
pub(crate) fn run(model: &Path, images: &[PathBuf]) -> Result<String> {
    let classifier = Classifier::load(model)?;
    let mut lines = String::new();
    for image in images {
        let predicted = classifier.predict_file(image)?;
        let class = |class: &ghostzoo::Probability| {
            format!("{} {:.2}", classifier.class_name(class.class_id), class.probability)
        };
        let top: Vec<String> = predicted.top(3).iter().map(class).collect();
        lines += &format!("{}: {}\n", image.display(), top.join(", "));
    }
    Ok(lines)
}
