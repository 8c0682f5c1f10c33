//! Which detections are right, as Ultralytics decides.

/// Overlaps at which a detection may be right: 0.50, 0.55, … 0.95.
pub const IOU_LEVELS: usize = 10;

/// Whether a detection is right at each of the [`IOU_LEVELS`].
pub type IouMatches = [bool; IOU_LEVELS];

/// `torch.linspace(0.5, 0.95, 10)`.
pub fn iou_levels() -> [f32; IOU_LEVELS] {
    const STEP: f32 = (0.95 - 0.5) / (IOU_LEVELS - 1) as f32;
    // torch counts from the nearer end.
    std::array::from_fn(|level| {
        if level < IOU_LEVELS / 2 { 0.5 + STEP * level as f32 } else { 0.95 - STEP * (IOU_LEVELS - 1 - level) as f32 }
    })
}

/// Decides for each detection of one image at which overlaps it is right.
///
/// `detections` and `truths` are classes with boxes left, top, right, bottom, the detections best first. At each level, a
/// detection takes the ground truth of its class, of those not yet taken, that it overlaps most.
pub fn match_boxes(detections: &[(usize, [f32; 4])], truths: &[(usize, [f32; 4])]) -> Vec<IouMatches> {
    let levels = iou_levels();
    let mut taken = vec![[false; IOU_LEVELS]; truths.len()];
    let mut found = vec![[false; IOU_LEVELS]; detections.len()];
    for ((class, bbox), found) in detections.iter().zip(&mut found) {
        let overlap = |(of, truth): &(usize, [f32; 4])| if of == class { iou(truth, bbox) } else { 0. };
        let overlaps: Vec<f32> = truths.iter().map(overlap).collect();
        for (level, least) in levels.iter().enumerate() {
            let free = (0..truths.len()).filter(|t| !taken[*t][level]);
            let best = free.reduce(|best, t| if overlaps[t] > overlaps[best] { t } else { best });
            if let Some(best) = best.filter(|best| overlaps[*best] >= *least) {
                found[level] = true;
                taken[best][level] = true;
            }
        }
    }
    found
}

/// Intersection over union with Ultralytics' guard against a division by zero.
pub(super) fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.);
    let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let overlap = side(0) * side(1);
    overlap / (area(a) + area(b) - overlap + 1e-7)
}
