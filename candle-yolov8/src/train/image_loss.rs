//! The loss of one image.

use ghostzoo_kernels::Real;

use super::anchors::Anchor;
use super::assign::{BoxTarget, Positive, assign};
use super::loss_terms::{box_terms, distances, softplus_sum};
use crate::modules::REG_MAX;

/// One image: its raw levels, each (4 · 16 + nc, cells), and what is to be found in it.
pub(super) struct Image<'a, T> {
    pub(super) levels: Vec<&'a [T]>,
    pub(super) objects: &'a [BoxTarget],
    pub(super) anchors: &'a [Anchor],
}

impl<T: Real> Image<'_, T> {
    /// The anchors that answer for the image's objects.
    pub(super) fn positives(&self, least_side: f64) -> Vec<Positive> {
        if self.objects.is_empty() {
            return Vec::new();
        }
        let first_of_level = self.anchors.iter().filter(|anchor| anchor.cell == 0);
        let distances: Vec<Vec<T>> = self
            .levels
            .iter()
            .zip(first_of_level)
            .map(|(level, anchor)| distances(&level[..4 * REG_MAX * anchor.cells], anchor.cells))
            .collect();
        assign(self.objects, self.anchors, least_side, |anchor, class| {
            let anchor = &self.anchors[anchor];
            let side = |side: usize| distances[anchor.level][side * anchor.cells + anchor.cell].to_wide();
            let xyxy = anchor.xyxy([0, 1, 2, 3].map(side)).map(|length| length * anchor.stride);
            (xyxy, 1. / (1. + (-self.logit(anchor, 4 * REG_MAX + class)).exp()))
        })
    }

    fn logit(&self, anchor: &Anchor, channel: usize) -> f64 {
        self.levels[anchor.level][channel * anchor.cells + anchor.cell].to_wide()
    }

    /// Sums of the box, class and DFL terms, those of a class times its weight; `gradient`, zero before, becomes that of
    /// their sum weighted by `scales`.
    pub(super) fn terms(
        &self,
        positives: &[Positive],
        scales: [f64; 3],
        class_weights: Option<&[f64]>,
        mut gradient: Vec<&mut [T]>,
    ) -> [f64; 3] {
        let [box_scale, class_scale, dfl_scale] = scales;
        let mut sums = [0.; 3];
        let first_of_level = self.anchors.iter().filter(|anchor| anchor.cell == 0);
        for ((level, gradient), anchor) in self.levels.iter().zip(&mut gradient).zip(first_of_level) {
            let classes = 4 * REG_MAX * anchor.cells..;
            let (logits, gradient) = (&level[classes.clone()], &mut gradient[classes]);
            sums[1] += match class_weights {
                None => softplus_sum(logits, class_scale, gradient),
                Some(weights) => {
                    let planes = logits.chunks_exact(anchor.cells).zip(gradient.chunks_exact_mut(anchor.cells));
                    let sum = |((logits, gradient), weight): ((_, _), &f64)| {
                        weight * softplus_sum(logits, weight * class_scale, gradient)
                    };
                    planes.zip(weights).map(sum).sum()
                }
            };
        }
        for Positive { anchor, object, score } in positives {
            let (anchor, object) = (&self.anchors[*anchor], &self.objects[*object]);
            let gradient = &mut gradient[anchor.level];
            let mut add = |channel: usize, by: f64| {
                let element = &mut gradient[channel * anchor.cells + anchor.cell];
                *element = T::nearest(element.to_wide() + by);
            };
            let class = 4 * REG_MAX + object.class;
            let weighted = score * class_weights.map_or(1., |weights| weights[object.class]);
            sums[1] -= weighted * self.logit(anchor, class);
            add(class, -weighted * class_scale);

            let channel = |side: usize, bin: usize| side * REG_MAX + bin;
            let logits = [0, 1, 2, 3].map(|side| std::array::from_fn(|bin| self.logit(anchor, channel(side, bin))));
            let terms = box_terms(anchor, &logits, object.xyxy.map(|length| length / anchor.stride));
            sums[0] += score * terms.ciou;
            sums[2] += score * terms.dfl;
            for (side, bins) in terms.gradients.iter().enumerate() {
                for (bin, [by_ciou, by_dfl]) in bins.iter().enumerate() {
                    add(channel(side, bin), score * (box_scale * by_ciou + dfl_scale * by_dfl));
                }
            }
        }
        sums
    }
}
