//! Letterboxes on a GPU.

use candle_core::{Result, Tensor};

use super::run::{Memories, Run, plain};
use super::{Launch, Map, Step, Window, word};

/// How a picture becomes the scaled one, as in `letterbox.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaling {
    AsItIs,
    Halved,
    Filtered,
}

/// `[height, width]` of a picture, of what it is scaled to and of the letterbox, and the border above and to the left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) picture: [usize; 2],
    pub(crate) scaled: [usize; 2],
    pub(crate) out: [usize; 2],
    pub(crate) pad: [usize; 2],
}

/// The planes (3, height, width) of a picture, from `words` on a device that has kernels: of each column and then of each row
/// of the scaled picture two positions in the picture and their weights, then the picture's bytes, four to a word, the first the
/// lowest.
pub(crate) fn letterbox(words: &Tensor, sizes: Sizes, scaling: Scaling) -> Result<Tensor> {
    let map = |[height, width]: [usize; 2]| {
        Ok::<_, candle_core::Error>(Map { height: word(height)?, width: word(width)?, ..Map::default() })
    };
    let step = Step {
        input: map(sizes.picture)?,
        second: map(sizes.scaled)?,
        out: map(sizes.out)?,
        window: Window { padding: [word(sizes.pad[0])?, word(sizes.pad[1])?], ..Window::default() },
        operation: match scaling {
            Scaling::AsItIs => 0,
            Scaling::Halved => 1,
            Scaling::Filtered => 2,
        },
        ..Step::default()
    };
    let (mut run, [height, width]) = (Run::new(), sizes.out);
    let (picture, output) = (run.input(words), run.own(3 * height * width));
    let launch = Launch::elements("letterbox", height * width, step)?;
    run.launch(launch, Memories { picture: Some(picture), ..Memories::to(output) });
    Ok(plain(run.run()?.remove(0), (3, height, width)))
}
