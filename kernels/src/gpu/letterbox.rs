//! Letterboxes on a GPU.

use candle_core::{DType, Result, Tensor, bail};

use super::run::{Memories, Run, plain};
use super::{Launch, Map, Step, Window, word};

/// How an image becomes the scaled one, as in `letterbox.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// Copied.
    AsItIs,
    /// The mean of 2x2 pixels.
    Halved,
    /// By two positions per axis and their weights.
    Filtered,
}

/// Where an image lies in its letterbox, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// [height, width] of the image.
    pub image: [usize; 2],
    /// [height, width] of what it is scaled to.
    pub scaled: [usize; 2],
    /// [height, width] of the letterbox.
    pub out: [usize; 2],
    /// Border above and to the left.
    pub pad: [usize; 2],
}

/// The planes (images, 3, height, width) of images whose letterboxes have one size, in a type of elements, from words on
/// a device that has kernels. Those of an image: of each column and then of each row of the scaled image two positions in
/// the image and their weights, then the image's bytes, four to a word, the first the lowest.
///
/// # Errors
/// If there are no images, their letterboxes differ in size, or the device has no memory left.
pub fn letterbox(images: &[(&Tensor, Sizes, Scaling)], dtype: DType) -> Result<Tensor> {
    let Some((_, Sizes { out: [height, width], .. }, _)) = images.first() else { bail!("a batch of no images") };
    let (mut run, len) = (Run::of(dtype), 3 * height * width);
    let output = run.own(images.len() * len);
    for (index, (words, sizes, scaling)) in images.iter().enumerate() {
        if sizes.out != [*height, *width] {
            bail!("letterboxes of {:?} and {:?} in one batch", [height, width], sizes.out)
        }
        let map = |[height, width]: [usize; 2]| {
            Ok::<_, candle_core::Error>(Map { height: word(height)?, width: word(width)?, ..Map::default() })
        };
        let step = Step {
            input: map(sizes.image)?,
            second: map(sizes.scaled)?,
            out: Map { offset: word(index * len)?, ..map(sizes.out)? },
            window: Window { padding: [word(sizes.pad[0])?, word(sizes.pad[1])?], ..Window::default() },
            operation: match scaling {
                Scaling::AsItIs => 0,
                Scaling::Halved => 1,
                Scaling::Filtered => 2,
            },
            ..Step::default()
        };
        let image = run.input(words);
        let launch = Launch::elements("letterbox", height * width, step)?;
        run.launch(launch, Memories { image: Some(image), ..Memories::to(output) });
    }
    Ok(plain(run.run()?.remove(0), (images.len(), 3, *height, *width)))
}
