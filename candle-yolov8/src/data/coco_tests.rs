use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(root: &Path, text: &str) -> Result<CocoInstances, DataError> {
    let file = root.join("instances_val.json");
    fs::write(&file, text).unwrap();
    CocoInstances::read(&file)
}

/// A file of two pictures and two categories, in the opposite order of ids, with these annotations.
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
    let pictures = coco.pictures(None).expect("pictures beside the file");
    let label = |class, xywh, outline_area, crowd| Label { class, place: LabelBox::Pixels(xywh), outline_area, crowd };
    let expected = [
        LabelledPicture {
            path: root.path().join("b.jpg"),
            image_id: ImageId::Number(9),
            size: Some([100, 200]),
            labels: vec![
                label(1, [10., 20.5, 30., 40.], Some(600.5), false),
                label(0, [0., 0., 200., 100.], None, true),
            ],
        },
        LabelledPicture {
            path: root.path().join("sub/a.jpg"),
            image_id: ImageId::Name("x-1".into()),
            size: None,
            labels: vec![label(0, [-5., 0., 0., 8.], None, true)],
        },
    ];
    assert_eq!(pictures, expected);
    assert_eq!(coco.report(), &LabelReport { pictures: 2, objects: 3, ..Default::default() });
}

#[test]
fn wrong_annotations_are_left_out_and_told() {
    let root = tempfile::tempdir().unwrap();
    for (change, problem) in [
        (json!({"image_id": 8}), "annotation 5: there is no picture with the id 8; it is left out"),
        (json!({"image_id": "9"}), "there is no picture with the id 9"),
        (json!({"category_id": 2}), "there is no category with the id 2"),
        (json!({"bbox": null}), "it has no bbox"),
        (json!({"bbox": []}), "bbox has 0 numbers"),
        (json!({"bbox": [1, 2, 3]}), "bbox has 3 numbers, where x, y, width and height are needed"),
        (json!({"bbox": [1, 2, 3, 4, 5]}), "bbox has 5 numbers"),
        (json!({"bbox": [1, 2, -3, 4]}), "bbox [1.0, 2.0, -3.0, 4.0] is no box in pixels"),
        (json!({"bbox": [1, 2, 3, 1e300]}), "is no box in pixels"),
        (json!({"area": -1}), "area -1 is none in square pixels"),
        (json!({"area": 1e300}), "is none in square pixels"),
        (json!({"id": null, "bbox": []}), "annotation number 1: bbox"),
    ] {
        let right = json!({"id": 5, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0});
        let mut annotation = right.clone();
        for (key, value) in change.as_object().unwrap() {
            annotation[key] = value.clone();
        }
        let text = with(json!([annotation, right]));
        let coco = read(root.path(), &text).unwrap_or_else(|error| panic!("{change}: {error}"));
        let [message] = &coco.report().messages[..] else { panic!("{change}: {:?}", coco.report()) };
        assert!(message.contains(problem) && message.contains("instances_val.json"), "{change}: {message}");
        let expected =
            LabelReport { pictures: 2, objects: 1, backgrounds: 1, left_out_objects: 1, ..Default::default() };
        assert_eq!(LabelReport { messages: Vec::new(), ..coco.report().clone() }, expected, "{change}");
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
        ("[]".into(), "no COCO instances file"),
        ("{}".into(), "missing field `images`"),
        (format!(r#"{{"images": [{image}]}}"#), "missing field `categories`"),
        (format!(r#"{{"images": [{image}], "categories": []}}"#), "`categories` is empty"),
        (r#"{"images": [], "categories": [{"id": 1, "name": "a"}]}"#.into(), "`images` is empty"),
        (
            format!(r#"{{"images": [{image}, {image}], "categories": [{{"id": 1, "name": "a"}}]}}"#),
            "two pictures have the id 1",
        ),
        (
            format!(r#"{{"images": [{image}], "categories": [{{"id": 1, "name": "a"}}, {{"id": 1, "name": "b"}}]}}"#),
            "two categories have the id 1",
        ),
        (
            r#"{"images": [{"id": 1, "file_name": ""}], "categories": [{"id": 1, "name": "a"}]}"#.into(),
            "picture 1 has an empty file_name",
        ),
        (with(json!([{"image_id": 9, "category_id": 1, "bbox": "1,2,3,4"}])), "at line 1 column"),
        (with(json!([])).replace("200", "NaN"), "at line 1 column"),
        (with(json!([])).replace("200", "-200"), "at line 1 column"),
        ("[".repeat(100_000), "no COCO instances file"),
        (format!(r#"{{"info": {}"#, "[".repeat(100_000)), "no COCO instances file"),
    ] {
        let error = read(root.path(), &text).expect_err(&text).to_string();
        assert!(error.contains(problem) && error.contains("instances_val.json: "), "{text:.80}: {error}");
    }
}

#[test]
fn pictures_are_found_beside_the_file_or_where_the_caller_says() {
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
        let error = coco.pictures(None).expect_err("no pictures yet");
        let DataError::NotFound { tried, .. } = &error else { panic!("{error}") };
        assert!(tried.len() == 7 && tried.iter().all(|path| path.ends_with("b.jpg")), "{tried:?}");

        fs::write(root.path().join(folder).join("b.jpg"), "").unwrap();
        let error = coco.pictures(None).expect_err("one picture of two").to_string();
        assert!(error.contains("1 of 2 pictures") && error.contains("sub/a.jpg"), "{error}");

        fs::write(root.path().join(folder).join("sub/a.jpg"), "").unwrap();
        let canonical = |path: &PathBuf| fs::canonicalize(path).unwrap();
        let found: Vec<_> = coco.pictures(None).unwrap().iter().map(|picture| canonical(&picture.path)).collect();
        let expected = ["b.jpg", "sub/a.jpg"].map(|name| canonical(&root.path().join(folder).join(name)));
        assert_eq!(found, expected, "{folder}");

        let given = root.path().join(folder);
        assert_eq!(coco.pictures(Some(&given)).map(|pictures| pictures.len()).ok(), Some(2), "{folder}");
        let error = coco.pictures(Some(&root.path().join("none"))).expect_err("a wrong folder").to_string();
        assert!(error.contains("none/b.jpg; correct"), "only the given folder is tried: {error}");
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
