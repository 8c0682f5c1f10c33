//! A GhostNet as a backbone: its maps at each scale, and its embedding, with which images are compared.
//! `cargo run --release --example features`.

use ghostzoo::candle_core::Tensor;
use ghostzoo::image::Rgb;
use ghostzoo::{Classifier, Result, RgbImage};

fn main() -> Result<()> {
    print!("{}", run()?);
    Ok(())
}

/// One line per map, then how like the drawn images are to the first.
pub(crate) fn run() -> Result<String> {
    let classifier = Classifier::load("ghostnet_050-cifar10")?;
    let network = classifier.inner();
    let disc = |radius: i32| {
        RgbImage::from_fn(64, 64, |x, y| {
            let inside = (x as i32 - 32).pow(2) + (y as i32 - 32).pow(2) < radius * radius;
            Rgb(if inside { [200, 40, 40] } else { [30, 90, 180] })
        })
    };
    let images = [disc(20), disc(18), disc(3)];
    let inputs = images.iter().map(|image| classifier.prepare(image)).collect::<Result<Vec<_>>>()?;
    let xs = Tensor::stack(&inputs, 0)?;
    let mut lines = String::new();
    for map in network.features(&xs, false)? {
        lines += &format!("map {:?}\n", map.dims());
    }
    // (3, 1280), each of length 1, so that their products are the cosines of the angles between them.
    let embeddings = network.pre_logits(&network.forward_features(&xs, false)?)?;
    let lengths = embeddings.sqr()?.sum_keepdim(1)?.sqrt()?;
    let embeddings = embeddings.broadcast_div(&lengths)?;
    let likeness = embeddings.matmul(&embeddings.t()?)?.get(0)?.to_vec1::<f32>()?;
    lines += &format!("likeness {:.2} {:.2} {:.2}\n", likeness[0], likeness[1], likeness[2]);
    Ok(lines)
}
