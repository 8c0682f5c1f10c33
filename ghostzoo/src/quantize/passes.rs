//! Two looks at the images: how far the values of each map reach, and how they lie there.

use std::collections::BTreeMap;

use candle_vision::data::{Dataset, ItemError, PrefetchIter};
use ghostzoo_kernels::plan::Observer;
use rayon::prelude::*;

use super::QuantizeCallbacks;
use super::images::{HasImage, View};
use super::range::{Extremes, Histogram};
use crate::error::{Error, Result, invalid};
use crate::train::Message;

/// What the passes over the images share.
pub(super) struct Passes<'a, I> {
    pub(super) images: &'a dyn Dataset<Item = I>,
    pub(super) view: &'a View,
    pub(super) observer: &'a Observer,
    /// Images of both passes.
    pub(super) total: usize,
}

impl<I: HasImage> Passes<'_, I> {
    /// Calls `see` with the maps of each image that can be read, with its number. Images are read ahead, on another thread.
    fn each(
        &self,
        numbers: &[usize],
        mut see: impl FnMut(usize, Result<Vec<Vec<f32>>, ItemError>) -> Result<()>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let read = numbers.iter().map(|number| Ok::<_, Error>((*number, self.view.input(self.images, *number))));
            for item in PrefetchIter::spawn_scoped(scope, read)? {
                let (number, input) = item?;
                let maps = match input {
                    Ok(input) => Ok(self.observer.run(&input)?),
                    Err(error) => Err(error),
                };
                see(number, maps)?;
            }
            Ok(())
        })
    }

    /// What a first look sees of each map, and the numbers of the images that can be read.
    pub(super) fn extremes(
        &self,
        numbers: &[usize],
        callbacks: &mut dyn QuantizeCallbacks,
    ) -> Result<(Vec<Extremes>, Vec<usize>)> {
        let mut channels: BTreeMap<usize, usize> = BTreeMap::new();
        for conv in self.observer.convs() {
            channels.extend(conv.map.map(|map| (map, conv.input[2])));
        }
        let mut seen: Vec<Extremes> = channels.into_values().map(Extremes::new).collect();
        let (mut readable, mut done) = (Vec::new(), 0);
        self.each(numbers, |number, maps| {
            done += 1;
            let added = maps.and_then(|maps| {
                let both = seen.par_iter_mut().zip(&maps);
                both.try_for_each(|(seen, map)| seen.add(map))
            });
            match added {
                Ok(()) => readable.push(number),
                Err(error) => {
                    let name = self.images.name(number);
                    callbacks.message(&Message::Warning(format!("{name}: {error}; it is left out")));
                }
            }
            callbacks.on_image(done, self.total)
        })?;
        if readable.is_empty() {
            invalid!("none of the {} images can be read", numbers.len());
        }
        Ok((seen, readable))
    }

    pub(super) fn histograms(
        &self,
        seen: &[Extremes],
        numbers: &[usize],
        callbacks: &mut dyn QuantizeCallbacks,
    ) -> Result<Vec<Histogram>> {
        let mut histograms: Vec<Histogram> = seen.iter().map(Histogram::new).collect();
        let mut done = self.total / 2;
        self.each(numbers, |_, maps| {
            histograms.par_iter_mut().zip(&maps?).for_each(|(histogram, map)| histogram.add(map));
            done += 1;
            callbacks.on_image(done, self.total)
        })?;
        Ok(histograms)
    }
}
