use std::fs;
use std::path::{Path, PathBuf};

use candle_vision::metrics::coco::{GroundTruth, ScoredBox, evaluate};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(root: &Path, text: &str) -> Result<CocoInstances, DataError> {
    let file = root.join("instances_val.json");
    fs::write(&file, text).unwrap();
    CocoInstances::read(&file)
}

/// A file of two images and two categories, in the opposite order of ids, with these annotations.
fn with(annotations: Value) -> String {
    json!({
        "info": {"year": 2017},
        "images": [
            {"id": 9, "file_name": "b.jpg", "height": 100, "width": 200, "license": 3},
            {"id": "x-1", "file_name": "sub/a.jpg"},
        ],
        "categories": [
            {"id": 90, "name": "dog", "supercategory": "animal"},
            {"id": 1, "name": "cat"},
        ],
        "annotations": annotations,
    })
    .to_string()
}

/// By `tests/oracle/coco_forms.py`.
#[test]
fn numbers_are_those_of_pycocotools_however_the_file_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/yolov8/coco_forms.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let root = tempfile::tempdir().unwrap();
    ["1.png", "2.png", "3.png"].iter().for_each(|name| fs::write(root.path().join(name), "").unwrap());
    for form in golden["forms"].as_array().unwrap() {
        let what = &form["name"];
        let coco = read(root.path(), form["text"].as_str().unwrap()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (images, report) = coco.images(None).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((images.len(), report.objects, report.left_out, report.left_out_objects), (3, 8, 0, 0), "{what}");
        let truths: Vec<GroundTruth> = images
            .iter()
            .enumerate()
            .flat_map(|(image, annotated)| annotated.labels.iter().map(move |label| (image, label)))
            .map(|(image, label)| {
                let BBox::Pixels(bbox) = label.place else { panic!("{label:?}") };
                GroundTruth { image, class: label.class, bbox, area: label.area([240, 320]), crowd: label.crowd }
            })
            .collect();
        let number = |value: &Value| value.as_i64().unwrap();
        let class = |id: &Value| coco.categories().iter().position(|category| category.id == number(id)).unwrap();
        let scored = |row: &Value| ScoredBox {
            image: number(&row["image_id"]) as usize - 1,
            class: class(&row["category_id"]),
            bbox: std::array::from_fn(|side| row["bbox"][side].as_f64().unwrap()),
            score: row["score"].as_f64().unwrap(),
        };
        let scored: Vec<ScoredBox> = golden["predictions"].as_array().unwrap().iter().map(scored).collect();
        let found = evaluate(&truths, &scored, coco.categories().len()).summary.stats();
        for (found, expected) in found.into_iter().zip(form["stats"].as_array().unwrap()) {
            let (found, expected) = (found.unwrap_or(-1.), expected.as_f64().unwrap());
            assert!((found - expected).abs() < 1e-6, "{what}: {found} and not {expected}");
        }
    }
}

#[test]
fn annotations_become_labels() {
    let root = tempfile::tempdir().unwrap();
    let text = with(json!([
        {"id": 5, "image_id": 9, "category_id": 90, "bbox": [10, 20.5, 30, 40], "area": 600.5, "iscrowd": 0,
         "segmentation": [[1, 2, 3, 4]]},
        {"id": 6, "image_id": 9, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1, "area": null},
        {"image_id": "x-1", "category_id": 1, "bbox": [-5, 0, 0, 8], "iscrowd": true},
    ]));
    let coco = read(root.path(), &text).expect("a dataset");
    let names: Vec<_> = coco.categories().iter().map(|category| (category.id, category.name.as_str())).collect();
    assert_eq!(names, [(1, "cat"), (90, "dog")], "classes follow the ids");
    for name in ["b.jpg", "sub/a.jpg"] {
        fs::create_dir_all(root.path().join("sub")).unwrap();
        fs::write(root.path().join(name), "").unwrap();
    }
    let (images, report) = coco.images(None).expect("images beside the file");
    let label = |class, xywh, outline_area, crowd| Annotation { class, place: BBox::Pixels(xywh), outline_area, crowd };
    let expected = [
        AnnotatedImage {
            path: root.path().join("b.jpg"),
            image_id: ImageId::Number(9),
            size: Some([100, 200]),
            labels: vec![
                label(1, [10., 20.5, 30., 40.], Some(600.5), false),
                label(0, [0., 0., 200., 100.], None, true),
            ],
        },
        AnnotatedImage {
            path: root.path().join("sub/a.jpg"),
            image_id: ImageId::Name("x-1".into()),
            size: None,
            labels: vec![label(0, [-5., 0., 0., 8.], None, true)],
        },
    ];
    assert_eq!(images, expected);
    assert_eq!(report, LabelReport { images: 2, objects: 3, ..Default::default() });
}

#[test]
fn wrong_annotations_are_left_out_and_told() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("sub")).unwrap();
    ["b.jpg", "sub/a.jpg"].iter().for_each(|name| fs::write(root.path().join(name), "").unwrap());
    for (change, problem) in [
        (json!({"image_id": 8}), "annotation 5: there is no image with the id 8"),
        (json!({"image_id": "9"}), "there is no image with the id 9"),
        (json!({"image_id": null}), "it names no image"),
        (json!({"image_id": 9.5}), "it names no image"),
        (json!({"category_id": 2}), "there is no category with the id 2"),
        (json!({"category_id": "1"}), "there is no category with the id 1"),
        (json!({"category_id": [1]}), "it names no category"),
        (json!({"bbox": "1,2,3,4"}), "bbox is no list of x, y, width and height"),
        (json!({"bbox": ["1", 2, 3, 4]}), "is no box in pixels"),
        (json!({"bbox": [1, 2, null, 4]}), "is no box in pixels"),
        (json!({"bbox": null}), "it has no bbox"),
        (json!({"bbox": []}), "bbox has 0 numbers"),
        (json!({"bbox": [1, 2, 3]}), "bbox has 3 numbers, where x, y, width and height are needed"),
        (json!({"bbox": [1, 2, 3, 4, 5]}), "bbox has 5 numbers"),
        (json!({"bbox": [1, 2, -3, 4]}), "bbox [1.0, 2.0, -3.0, 4.0] is no box in pixels"),
        (json!({"bbox": [1, 2, 3, 1e300]}), "is no box in pixels"),
        (json!({"id": null, "bbox": []}), "annotation number 1: bbox"),
    ] {
        let right = json!({"id": 5, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0});
        let mut annotation = right.clone();
        for (key, value) in change.as_object().unwrap() {
            annotation[key] = value.clone();
        }
        let text = with(json!([annotation, right]));
        let coco = read(root.path(), &text).unwrap_or_else(|error| panic!("{change}: {error}"));
        let (_, report) = coco.images(None).unwrap();
        let [message] = &report.messages[..] else { panic!("{change}: {report:?}") };
        assert!(message.contains(problem) && message.contains("instances_val.json"), "{change}: {message}");
        assert!(message.ends_with("; it is left out"), "{change}: {message}");
        let expected = LabelReport { images: 2, objects: 1, backgrounds: 1, left_out_objects: 1, ..Default::default() };
        assert_eq!(LabelReport { messages: Vec::new(), ..report.clone() }, expected, "{change}");
        let error = read(root.path(), &with(json!([annotation]))).expect_err("nothing is left").to_string();
        assert!(error.contains("not one of its 1 annotations can be used") && error.contains(problem), "{error}");
    }
}

#[test]
fn a_file_that_is_no_dataset_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let image = r#"{"id": 1, "file_name": "a.jpg"}"#;
    for (text, problem) in [
        (String::new(), "no COCO instances file: EOF"),
        ("[]".into(), "a list, as results are; an instances file is an object with images, annotations and categories"),
        (r#" [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]"#.into(), "(a dataset is what is labelled"),
        ("3".into(), "expected an object with images, annotations and categories"),
        ("{}".into(), "missing field `images`"),
        (format!(r#"{{"images": [{image}]}}"#), "missing field `categories`"),
        (format!(r#"{{"images": [{image}], "categories": []}}"#), "`categories` is empty"),
        (r#"{"images": [], "categories": [{"id": 1, "name": "a"}]}"#.into(), "`images` is empty"),
        (
            format!(
                r#"{{"images": [{image}, {}], "categories": [{{"id": 1, "name": "a"}}]}}"#,
                image.replace("a.jpg", "b.jpg")
            ),
            "two images have the id 1: a.jpg and b.jpg",
        ),
        (r#"{"images": [7], "categories": []}"#.into(), "expected an image, an object with id and file_name"),
        (
            r#"{"images": [{"file_name": "a.jpg"}], "categories": [{"id": 1, "name": "a"}]}"#.into(),
            "image number 1 has no id",
        ),
        (
            format!(r#"{{"images": [{image}], "categories": [{{"id": "x", "name": "a"}}]}}"#),
            "category a: its id is `x`, where a whole number is needed",
        ),
        (
            format!(r#"{{"images": [{image}], "categories": [{{"name": "a"}}]}}"#),
            "category a: its id is none, where a whole number is needed",
        ),
        (
            format!(r#"{{"images": [{image}], "categories": [{{"id": 1, "name": "a"}}, {{"id": 1, "name": "b"}}]}}"#),
            "two categories have the id 1",
        ),
        (
            r#"{"images": [{"id": 1, "file_name": ""}], "categories": [{"id": 1, "name": "a"}]}"#.into(),
            "image 1 has no file_name",
        ),
        (with(json!([])).replace("200", "nan"), "at line 1 column"),
        ("[".repeat(100_000), "a list, as results are"),
        (format!(r#"{{"info": {}"#, "[".repeat(100_000)), "no COCO instances file"),
    ] {
        let error = read(root.path(), &text).expect_err(&text).to_string();
        assert!(error.contains(problem) && error.contains("instances_val.json: "), "{text:.80}: {error}");
        let rust = ["usize", "i64", "struct", "variant", "untagged"].into_iter().find(|word| error.contains(word));
        assert!(rust.is_none() && !error.contains('\n'), "{error}");
    }
}

#[test]
fn images_are_found_beside_the_file_or_where_the_caller_says() {
    for (file, folder) in [
        ("instances_val.json", ""),
        ("instances_val.json", "images"),
        ("instances_val.json", "images/val"),
        ("instances_val.json", "val"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("val.json", "val"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join(folder).join("sub")).unwrap();
        fs::write(&file, with(json!([]))).unwrap();
        let coco = CocoInstances::read(&file).unwrap();
        let error = coco.images(None).expect_err("no images yet");
        let DataError::NotFound { tried, .. } = &error else { panic!("{error}") };
        assert!(tried.len() == 7 && tried.iter().all(|path| path.ends_with("b.jpg")), "{tried:?}");
        let text = error.to_string();
        assert!(text.contains("names 2 images, the first `b.jpg`; there is nothing at "), "{text}");

        fs::write(root.path().join(folder).join("sub/a.jpg"), "").unwrap();
        let (images, report) = coco.images(None).expect("the second image alone");
        assert_eq!((images.len(), report.images, report.left_out), (1, 2, 1), "{folder}");
        assert!(
            report.messages[0].contains("image 9 is not there: ") && report.messages[0].contains("b.jpg"),
            "{report:?}"
        );

        fs::write(root.path().join(folder).join("b.jpg"), "").unwrap();
        let canonical = |path: &PathBuf| fs::canonicalize(path).unwrap();
        let (images, report) = coco.images(None).unwrap();
        let found: Vec<_> = images.iter().map(|image| canonical(&image.path)).collect();
        let expected = ["b.jpg", "sub/a.jpg"].map(|name| canonical(&root.path().join(folder).join(name)));
        assert_eq!((found.as_slice(), report.left_out), (&expected[..], 0), "{folder}");

        let given = root.path().join(folder);
        assert_eq!(coco.images(Some(&given)).map(|(images, _)| images.len()).ok(), Some(2), "{folder}");
        let error = coco.images(Some(&root.path().join("none"))).expect_err("a wrong folder").to_string();
        assert!(error.contains("none/b.jpg; correct"), "only the given folder is tried: {error}");
    }
}

#[test]
fn a_category_above_the_others_is_no_class() {
    let root = tempfile::tempdir().unwrap();
    let category = |id: i64, name: &str, above: Option<&str>| json!({"id": id, "name": name, "supercategory": above});
    let none = Some("none");
    for (categories, used, expected, what) in [
        (vec![category(0, "cells", none), category(1, "WBC", Some("cells"))], 1, vec!["WBC"], "Roboflow's root"),
        (vec![category(0, "cells", none), category(1, "WBC", None)], 1, vec!["WBC"], "the only one without one above"),
        (vec![category(0, "cells", none), category(1, "cells", Some("cells"))], 1, vec!["cells"], "of the same name"),
        (vec![category(0, "cells", none), category(1, "WBC", Some("cells"))], 0, vec!["cells", "WBC"], "with objects"),
        (vec![category(0, "cells", none), category(1, "WBC", none)], 1, vec!["cells", "WBC"], "one of equals"),
        (
            vec![category(1, "person", Some("person")), category(2, "car", Some("vehicle"))],
            2,
            vec!["person", "car"],
            "COCO's",
        ),
        (vec![category(0, "cells", none)], 0, vec!["cells"], "the only one"),
    ] {
        let annotations = json!([{"image_id": 1, "category_id": used, "bbox": [1, 2, 3, 4]}]);
        let images = json!([{"id": 1, "file_name": "a.jpg"}]);
        let text = json!({"images": images, "categories": categories, "annotations": annotations}).to_string();
        let coco = read(root.path(), &text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let names: Vec<&str> = coco.categories().iter().map(|category| category.name.as_str()).collect();
        assert_eq!(names, expected, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_panics(cut in 0..600usize, at in 0..600usize, byte in any::<u8>()) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("instances.json");
        let annotations = json!([{"id": 5, "image_id": 9, "category_id": 90, "bbox": [10, 20.5, 30, 40], "area": 600.5}]);
        let mut text = with(annotations).into_bytes();
        text.truncate(cut);
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        fs::write(&file, text).unwrap();
        let _ = CocoInstances::read(&file);
    }
}
