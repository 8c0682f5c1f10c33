use std::collections::BTreeSet;

use proptest::prelude::*;

use super::epilogue::{activate, exp};
use super::program::overlap;
use super::{Call, Kernel, Program, View};
use crate::Activation;
use crate::simd::{Isa, Job, Vector, Width};

/// A step that reads and writes nothing but says so.
struct Claims(Vec<View>, Vec<View>);

impl Kernel for Claims {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (self.0.clone(), self.1.clone())
    }

    fn chunks(&self) -> usize {
        1
    }

    fn describe(&self) -> String {
        "claims".to_owned()
    }

    unsafe fn run(&self, _: Call) {}
}

fn elements(view: &View) -> BTreeSet<usize> {
    let positions = (0..view.height).flat_map(|y| (0..view.width).map(move |x| view.at(y, x)));
    positions.flat_map(|start| start..start + view.channels).collect()
}

/// Views of a few elements; those of the given stride share a parent map where their offsets say so.
fn views(stride: impl Strategy<Value = usize>) -> impl Strategy<Value = View> {
    (stride, 0..40usize, 0..=3usize, 0..=3usize)
        .prop_flat_map(|(stride, offset, height, width)| (Just((stride, offset, height, width)), 1..=stride))
        .prop_map(|((stride, offset, height, width), channels)| View { offset, stride, height, width, channels })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn overlap_of_equal_strides_is_exact((a, b) in (1..=9usize).prop_flat_map(|s| (views(Just(s)), views(Just(s))))) {
        prop_assert_eq!(overlap(&a, &b), !elements(&a).is_disjoint(&elements(&b)));
    }

    #[test]
    fn overlap_misses_no_shared_element(a in views(1..=9usize), b in views(1..=9usize)) {
        let (ours, theirs) = (elements(&a), elements(&b));
        let apart = ours.last() < theirs.first() || theirs.last() < ours.first();
        let is_apart = ours.is_empty() || theirs.is_empty() || apart;
        prop_assert!(overlap(&a, &b) || ours.is_disjoint(&theirs));
        prop_assert!(!(overlap(&a, &b) && is_apart), "ranges without a common element");
    }

    #[test]
    fn programs_refuse_what_leaves_the_arena_or_is_read_where_it_is_written(
        read in proptest::collection::vec(views(1..=9usize), 0..=2),
        written in proptest::collection::vec(views(1..=9usize), 1..=2),
        arena in 20..90usize,
        narrow in 0..8usize,
    ) {
        let (mut all, reads) = ([read.clone(), written].concat(), read.len());
        // Now and then a view with fewer elements between positions than it has channels.
        if let Some(view) = all.get_mut(narrow) {
            view.stride = view.channels - 1;
        }
        let inside = all.iter().all(|v| v.stride >= v.channels && elements(v).last().is_none_or(|last| *last < arena));
        let empty_inside = all.iter().all(|v| v.positions() > 0 || v.offset <= arena);
        let clash = (reads..all.len()).any(|to| (0..to).any(|from| overlap(&all[from], &all[to])));
        let written = all.split_off(reads);
        let result = Program::new(vec![Box::new(Claims(all, written))], arena, 0, Vec::new());
        prop_assert_eq!(result.is_ok(), inside && empty_inside && !clash);
    }
}

/// A function of every element; the length is a multiple of 16.
struct Map<'a> {
    xs: &'a mut [f32],
    /// The exponential, if none.
    activation: Option<Activation>,
}

impl Job for Map<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for xs in self.xs.chunks_exact_mut(V::LANES) {
            // SAFETY: the chunk is a vector long.
            unsafe {
                let mut ys = [V::load(xs.as_ptr())];
                match self.activation {
                    Some(activation) => activate(activation, &mut ys),
                    None => ys[0] = exp(ys[0]),
                }
                ys[0].store(xs.as_mut_ptr());
            }
        }
    }
}

/// The function of each instruction set and width.
fn map(xs: &[f32], activation: Option<Activation>) -> Vec<(String, Vec<f32>)> {
    let vectors = Isa::available().into_iter().flat_map(|isa| [(isa, Width::Full), (isa, Width::Half)]);
    let run = |(isa, width): (Isa, Width)| {
        let mut ys = xs.to_vec();
        ys.resize(xs.len().next_multiple_of(16), 0.);
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Map { xs: &mut ys, activation }) };
        ys.truncate(xs.len());
        (format!("{isa} {width:?}"), ys)
    };
    vectors.map(run).collect()
}

#[test]
fn exponentials_are_close_and_saturate() {
    let xs: Vec<f32> = (-873_360..=880_000).map(|i| i as f32 * 1e-4).collect();
    for (vector, ys) in map(&xs, None) {
        for (x, y) in xs.iter().zip(&ys) {
            let exact = f64::from(*x).exp();
            let error = (f64::from(*y) - exact).abs() / exact / f64::from(f32::EPSILON);
            assert!(error < 2., "{vector}: exp({x}) is {y}, off by {error} times the rounding of 1");
        }
    }
    for (vector, ys) in map(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e4, -1e4, 0.], None) {
        assert!(ys[0].is_nan(), "{vector}: NaN stays");
        assert!(ys[1] > 1e38 && ys[1].is_finite() && ys[3] == ys[1], "{vector} saturates high: {ys:?}");
        assert!(ys[2] < 2e-38 && ys[2] > 0. && ys[4] == ys[2], "{vector} saturates low: {ys:?}");
        assert!((ys[5] - 1.).abs() <= f32::EPSILON, "{vector}: exp(0) is {}", ys[5]);
    }
}

#[test]
fn activations_equal_their_f64_forms() {
    let xs: Vec<f32> = (-100_000..=100_000).map(|i| i as f32 * 1e-3).chain([-1e4, -1e-6, 1e-6, 1e4]).collect();
    for activation in Activation::ALL {
        let mut exact: Vec<f64> = xs.iter().map(|x| f64::from(*x)).collect();
        activation.apply_slice(&mut exact);
        for (vector, ys) in map(&xs, Some(activation)) {
            for ((x, y), exact) in xs.iter().zip(&ys).zip(&exact) {
                let bound = 3. * f64::from(f32::EPSILON) * exact.abs().max(f64::from(x.abs().min(1.)));
                let error = (f64::from(*y) - exact).abs();
                assert!(error <= bound, "{vector}: {activation:?}({x}) is {y}, not {exact} ({error:e} > {bound:e})");
            }
        }
    }
}
