//! What the classes of a classifier that does not name them are called.

/// ImageNet-1k's class names in the order of their numbers, where a model has as many classes; else none.
pub fn class_names(classes: usize) -> Vec<String> {
    if classes != 1000 {
        return Vec::new();
    }
    let name = |line: &str| line.split_once('\t').map_or(line, |(_, name)| name).to_owned();
    include_str!("../data/imagenet_classes.txt").lines().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenets_classes_are_a_thousand_in_order() {
        let names = class_names(1000);
        assert_eq!(names.len(), 1000);
        assert_eq!(
            (names[0].as_str(), names[999].as_str()),
            ("tench, Tinca tinca", "toilet tissue, toilet paper, bathroom tissue")
        );
        assert!(class_names(10).is_empty());
    }
}
