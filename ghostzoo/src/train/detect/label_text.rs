//! Labels as the fingerprints of runs hold them: a run goes on only with labels of the same text.

use candle_yolov8::data::Annotation;
use candle_yolov8::train::augment::BoxTarget;

/// The objects that are trained with.
pub(super) fn objects_text(objects: &[BoxTarget]) -> String {
    let text = |BoxTarget { class, xywhn }: &BoxTarget| format!("Object {{ class: {class}, xywhn: {xywhn:?} }}");
    format!("[{}]", objects.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// The labels that are validated with.
pub(super) fn labels_text(labels: &[Annotation]) -> String {
    let text = |Annotation { class, place, outline_area, crowd }: &Annotation| {
        format!("Label {{ class: {class}, place: {place:?}, outline_area: {outline_area:?}, crowd: {crowd} }}")
    };
    format!("[{}]", labels.iter().map(text).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text does not follow the names of types: runs that were begun before would not go on.
    #[test]
    fn the_text_of_labels_stays_as_runs_hold_it() {
        let object = BoxTarget { class: 2, xywhn: [0.5, 0.25, 1., 0.125] };
        assert_eq!(
            objects_text(&[object, BoxTarget { class: 0, ..object }]),
            "[Object { class: 2, xywhn: [0.5, 0.25, 1.0, 0.125] }, Object { class: 0, xywhn: [0.5, 0.25, 1.0, 0.125] }]"
        );
        let labels = [Annotation::normalised(1, [0.5, 0.5, 0.3, 0.5]), Annotation::pixels(0, [4., 0., 16., 16.])];
        assert_eq!(
            labels_text(&labels),
            "[Label { class: 1, place: Normalised([0.5, 0.5, 0.3, 0.5]), outline_area: None, crowd: false }, Label { class: 0, \
             place: Pixels([4.0, 0.0, 16.0, 16.0]), outline_area: None, crowd: false }]"
        );
        assert_eq!((objects_text(&[]), labels_text(&[])), ("[]".to_owned(), "[]".to_owned()));
    }
}
