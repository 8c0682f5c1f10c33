//! The parts of a split as files, by which a validation finds them again.

use serde_json::{Map, Value, json};
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlEmitter};

use super::{AnnotatedImage, BBox, DataYaml, DatasetSplit, ImageId};

/// Names and texts of a data.yaml, `split.yaml`, and of the two files beside it that are its `train` and its `val`: lists of images by
/// their whole paths, or COCO's instances where the split is one.
///
/// `None` for images that no such file can name: of label files and instances files together, or with names that a line
/// cannot hold.
#[must_use]
pub fn part_files(
    data: &DataYaml,
    split: &DatasetSplit,
    parts: [&[AnnotatedImage]; 2],
) -> Option<Vec<(String, String)>> {
    let (ending, texts) = match split.kinds() {
        [true, false] => (".txt", parts.map(list)),
        [false, true] => (".json", parts.map(|part| instances(data.names(), part))),
        _ => return None,
    };
    let [train, val] = texts;
    let names = ["train", "val"].map(|part| format!("split_{part}{ending}"));
    let yaml = ("split.yaml".to_owned(), yaml(data, &names)?);
    let [train_name, val_name] = names;
    Some(vec![yaml, (train_name, train?), (val_name, val?)])
}

fn yaml(data: &DataYaml, [train, val]: &[String; 2]) -> Option<String> {
    let mut entries = Hash::new();
    let mut add = |key: &str, value: Yaml| entries.insert(Yaml::String(key.to_owned()), value);
    add("train", Yaml::String(train.clone()));
    add("val", Yaml::String(val.clone()));
    let names = data.names().iter().enumerate();
    add(
        "names",
        Yaml::Hash(names.map(|(class, name)| (Yaml::Integer(class as i64), Yaml::String(name.clone()))).collect()),
    );
    if data.pose() > 0 {
        add("kpt_shape", Yaml::Array(vec![Yaml::Integer(data.pose() as i64), Yaml::Integer(1)]));
    }
    let mut text = String::new();
    YamlEmitter::new(&mut text).dump(&Yaml::Hash(entries)).ok()?;
    Some(text.trim_start_matches("---\n").to_owned() + "\n")
}

fn list(part: &[AnnotatedImage]) -> Option<String> {
    let line = |image: &AnnotatedImage| {
        let line = image.path.to_str()?;
        (line.trim() == line && !line.contains(['\n', '\r'])).then(|| format!("{line}\n"))
    };
    part.iter().map(line).collect()
}

fn instances(names: &[String], part: &[AnnotatedImage]) -> Option<String> {
    let id = |id: &ImageId| match id {
        ImageId::Number(number) => json!(number),
        ImageId::Name(name) => json!(name),
    };
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for annotated in part {
        let mut image = Map::new();
        image.insert("id".to_owned(), id(&annotated.image_id));
        image.insert("file_name".to_owned(), json!(annotated.path.to_str()?));
        for (key, side) in ["height", "width"].into_iter().zip(annotated.size.into_iter().flatten()) {
            image.insert(key.to_owned(), json!(side));
        }
        images.push(Value::Object(image));
        for label in &annotated.labels {
            let BBox::Pixels(bbox) = label.place else { return None };
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": id(&annotated.image_id), "category_id": label.class + 1,
                "bbox": bbox, "area": label.outline_area.unwrap_or(bbox[2] * bbox[3]), "iscrowd": u8::from(label.crowd),
            }));
        }
    }
    let category = |(class, name): (usize, &String)| json!({"id": class + 1, "name": name});
    let categories: Vec<Value> = names.iter().enumerate().map(category).collect();
    Some(json!({"images": images, "annotations": annotations, "categories": categories}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Annotation;
    use std::path::Path;

    type Parts = [Vec<AnnotatedImage>; 2];

    /// The parts of the data in a folder: its images in turn.
    fn parted(folder: &Path) -> (DataYaml, DatasetSplit, Parts) {
        let data = DataYaml::read(folder).expect("a data.yaml");
        let split = DatasetSplit::open(&data, "train").expect("a split");
        let (images, _) = split.labels().expect("labels");
        let (val, train): (Vec<_>, Vec<_>) = images.into_iter().enumerate().partition(|(number, _)| number % 2 == 1);
        let strip = |part: Vec<(usize, AnnotatedImage)>| part.into_iter().map(|(_, image)| image).collect();
        (data, split, [strip(train), strip(val)])
    }

    /// What the files say when they are read again.
    fn read_again(data: &DataYaml, split: &DatasetSplit, parts: &Parts) -> (Vec<String>, Parts) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in part_files(data, split, [&parts[0], &parts[1]]).expect("files") {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let again = DataYaml::read(folder.path()).expect("the data.yaml");
        let read = |name| DatasetSplit::open(&again, name).expect(name).labels().expect(name).0;
        (again.names().to_vec(), ["train", "val"].map(read))
    }

    #[test]
    fn parts_of_label_files_read_back() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        for number in 0..5 {
            write(&format!("images/é {number}.jpg"), "");
            write(&format!("labels/é {number}.txt"), &format!("{} .5 .5 .25 .25 0 0 0\n", number % 2));
        }
        write("data.yaml", "train: images\nnames: [\"yes\", 'a: b']\nkpt_shape: [1, 3]\n");
        let (data, split, parts) = parted(root.path());
        assert_eq!(parts.each_ref().map(Vec::len), [3, 2]);
        let (names, again) = read_again(&data, &split, &parts);
        assert_eq!((names.as_slice(), &again), (data.names(), &parts));
    }

    #[test]
    fn parts_of_an_instances_file_read_back() {
        let root = tempfile::tempdir().expect("a folder");
        let images: Vec<Value> = (0..4)
            .map(|number| {
                let name = format!("{number}.jpg");
                std::fs::write(root.path().join(&name), "").expect("written");
                json!({"id": 10 + number, "file_name": name, "height": 50, "width": 80})
            })
            .collect();
        let annotations = json!([
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [1, 2.5, 30, 20], "area": 123.5, "iscrowd": 0},
            {"id": 2, "image_id": 11, "category_id": 9, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 1},
            {"id": 3, "image_id": 11, "category_id": 7, "bbox": [4, 4, 8, 9], "iscrowd": 0},
        ]);
        let categories = json!([{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]);
        let coco = json!({"images": images, "annotations": annotations, "categories": categories});
        std::fs::write(root.path().join("all.json"), coco.to_string()).expect("written");
        std::fs::write(root.path().join("data.yaml"), "train: all.json\n").expect("written");
        let (data, split, parts) = parted(root.path());
        let (names, again) = read_again(&data, &split, &parts);
        assert_eq!(names, ["cat", "dog"]);
        // Without an outline the box's own area counts, which is then written.
        let plain = |parts: &Parts| {
            let label = |label: &Annotation| (label.class, label.place, label.crowd);
            let image = |p: &AnnotatedImage| {
                (p.path.clone(), p.image_id.clone(), p.size, p.labels.iter().map(label).collect::<Vec<_>>())
            };
            parts.each_ref().map(|part| part.iter().map(image).collect::<Vec<_>>())
        };
        assert_eq!(plain(&again), plain(&parts));
        assert_eq!(again[0][0].labels[0].outline_area, Some(123.5));
    }
}
