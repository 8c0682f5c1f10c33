use super::*;
use ghostzoo_kernels::{PLACES, Place};

/// Numbers in [-1, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        crate::seeded::splitmix(&mut self.0) as f32
    }

    /// One of `count` numbers from 0 on.
    fn of(&mut self, count: usize) -> f32 {
        ((self.next() + 1.) * 0.5 * count as f32).floor().min(count as f32 - 1.)
    }
}

/// Boxes about a few places, so that many overlap, and scores on a grid of `levels`, so that many are equal; some numbers
/// are none.
fn decoded([images, classes, anchors]: [usize; 3], levels: usize, seed: u64) -> Tensor {
    let mut random = Random(seed);
    let mut values = Vec::with_capacity(images * (4 + classes) * anchors);
    for _ in 0..images {
        for row in 0..4 + classes {
            for _ in 0..anchors {
                let odd = random.of(200);
                values.push(match row {
                    0 | 1 => random.of(4) * 90. + random.next() * 12.,
                    2 | 3 if odd == 0. => 0.,
                    2 | 3 if odd == 1. => f32::INFINITY,
                    2 | 3 => 60. + random.next() * 25.,
                    _ if odd == 0. => f32::NAN,
                    _ if odd == 1. => -0.,
                    _ => (random.of(levels) / levels as f32).powi(2),
                });
            }
        }
    }
    Tensor::from_vec(values, (images, 4 + classes, anchors), &Device::Cpu).unwrap()
}

/// All that was kept, to the bit.
fn bits(kept: &[NmsOutput]) -> Vec<u32> {
    let one = |c: &Candidate| {
        let [x1, y1, x2, y2] = c.xyxy.map(f32::to_bits);
        [c.class_id as u32, c.confidence.to_bits(), x1, y1, x2, y2]
    };
    let image = |kept: &NmsOutput| {
        let counts = [kept.candidates.len() as u32, kept.dropped as u32];
        counts.into_iter().chain(kept.candidates.iter().flat_map(one)).collect::<Vec<_>>()
    };
    kept.iter().flat_map(image).collect()
}

/// What the host keeps, after a comparison with what kernels keep wherever they run.
fn check(decoded: &Tensor, options: &NmsOptions) -> Vec<NmsOutput> {
    let expected = nms_batched(decoded, options).unwrap();
    for place in PLACES.iter() {
        let found = place.run(|| nms_batched(&decoded.to_device(place.device()).unwrap(), options).unwrap());
        assert!(bits(&found) == bits(&expected), "{place:?}: {:?} with {options:?}", decoded.dims());
    }
    expected
}

fn counts(kept: &[NmsOutput]) -> Vec<usize> {
    kept.iter().map(|kept| kept.candidates.len()).collect()
}

#[test]
fn every_gpu_suppresses_by_kernels() {
    let decoded = decoded([1, 2, 300], 40, 0);
    for place in PLACES.iter() {
        let decoded = decoded.to_device(place.device()).unwrap();
        let found = place.run(|| on_gpu(&decoded, &NmsOptions::default()).unwrap());
        assert_eq!(found.is_some(), !matches!(place, Place::Cpu), "{place:?}");
    }
}

#[test]
fn kernels_keep_what_the_host_keeps() {
    for (seed, dims) in
        [[1, 1, 1], [2, 3, 255], [1, 80, 256], [3, 5, 257], [2, 2, 1000], [1, 1, 2100]].iter().enumerate()
    {
        for levels in [3, 50, 1 << 20] {
            let decoded = decoded(*dims, levels, seed as u64);
            for conf in [0.001, 0.25, -1.] {
                for agnostic in [false, true] {
                    for iou in [0.1, 0.7] {
                        let options = NmsOptions { conf, iou, agnostic, loose_iou: Some(0.95), ..Default::default() };
                        let kept = check(&decoded, &options);
                        assert!(dims[2] < 200 || counts(&kept).iter().all(|count| *count > 3), "nothing to compare");
                    }
                }
            }
        }
    }
}

#[test]
fn kernels_keep_no_more_than_is_asked_for() {
    let decoded = decoded([2, 7, 900], 40, 1);
    for max_det in [0, 1, 5, 256, 257] {
        let options = NmsOptions { conf: 0.001, iou: 1., max_det, ..Default::default() };
        assert_eq!(counts(&check(&decoded, &options)), [max_det; 2]);
    }
    let all = NmsOptions { conf: 0.001, iou: 1., max_det: usize::MAX, ..Default::default() };
    assert!(counts(&check(&decoded, &all)).iter().all(|count| *count > 800));
    assert_eq!(counts(&check(&decoded, &NmsOptions { conf: 1., ..Default::default() })), [0; 2], "no candidates");
}

#[test]
fn an_overlap_that_equals_the_threshold_is_kept() {
    // The second box is half of the first.
    let rows = vec![5., 5., 5., 2.5, 10., 10., 10., 5., 0.9, 0.8];
    let decoded = Tensor::from_vec(rows, (1, 5, 2), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    for (iou, count) in [(0.5, 2), (0.49, 1)] {
        assert_eq!(counts(&check(&decoded, &NmsOptions { iou, ..Default::default() })), [count]);
    }
}

#[test]
fn kernels_look_at_the_classes_that_are_asked_for() {
    let decoded = decoded([1, 40, 700], 40, 2);
    for classes in [vec![], vec![3], vec![0, 31, 32, 39], vec![2, 77, 5000]] {
        let options = NmsOptions { conf: 0.1, classes: Some(classes.clone()), ..Default::default() };
        let kept = check(&decoded, &options).remove(0).candidates;
        assert!(kept.iter().all(|kept| classes.contains(&kept.class_id)) && kept.is_empty() == classes.is_empty());
    }
}

#[test]
fn candidates_beyond_the_most_are_dropped() {
    let decoded = decoded([1, 1, 31_000], 1 << 20, 3);
    let kept = check(&decoded, &NmsOptions { conf: -1., max_det: 40, ..Default::default() });
    assert!(kept[0].dropped > 300, "{}", kept[0].dropped);
}

#[test]
fn what_kernels_do_not_do_the_host_does() {
    let decoded = decoded([2, 3, 300], 40, 4);
    let single = NmsOptions { conf: 0.1, ..Default::default() };
    let several = check(&decoded, &NmsOptions { multi_label: true, ..single.clone() });
    assert!(counts(&several) > counts(&check(&decoded, &single)));
    let far = NmsOptions { classes: Some(vec![1500]), ..single };
    assert_eq!(counts(&check(&self::decoded([1, 1600, 20], 40, 5), &far)).len(), 1);
    let empty = Tensor::zeros((2, 5, 0), DType::F32, &Device::Cpu).unwrap();
    // CUDA's driver has no memory of no bytes.
    assert_eq!(counts(&nms_batched(&empty, &NmsOptions::default()).unwrap()), [0; 2]);
    let error = nms_batched(&empty.narrow(1, 0, 3).unwrap(), &NmsOptions::default()).unwrap_err().to_string();
    assert!(error.contains("this one has 3"), "{error}");
}
