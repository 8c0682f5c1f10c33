//! Ultralytics' data.yaml: `path`, `train`, `val`, `test`, `names`, `nc`, `kpt_shape`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use yaml_rust2::Yaml;
use yaml_rust2::yaml::Hash;

use super::{CocoInstances, DataError, files, yaml_text};
use crate::MAX_CLASSES;
use crate::yaml::load;

/// Most bytes of a data.yaml.
const MAX_BYTES: u64 = 16 << 20;
/// What is said where nothing names the classes.
const NO_NAMES: &str = "`names:` is needed, a list or a map from each number from 0";
/// The splits that are known.
const SPLITS: [&str; 3] = ["train", "val", "test"];

/// A description of a dataset: where the images of its splits lie, and the names of its classes.
///
/// `path` is relative to the yaml's own folder, else to the working directory; the yaml's folder if absent. Each entry
/// of a split is a folder, which counts with those below it, a `.txt` list of images, or a pattern of such names with
/// `*`, `?`, `[...]` or `**`, or COCO's instances in a `.json`, relative to `path`. `names` is a list or a map from each
/// number from 0; without it, `nc` classes are called `class_0` and so on, and with neither they are the categories of the
/// first instances file. `kpt_shape`, points and numbers of each, says which rows of label files are poses.
#[derive(Debug, Clone, PartialEq)]
pub struct DataYaml {
    file: PathBuf,
    root: PathBuf,
    splits: BTreeMap<&'static str, Vec<String>>,
    names: Vec<String>,
    /// Numbers of a pose behind the box of a row; 0 where there are none.
    pose: usize,
}

impl DataYaml {
    /// Reads a data.yaml, or the only yaml of a folder. That the splits exist is checked by [`DataYaml::entries`].
    ///
    /// # Errors
    /// `Io`, or `Invalid` with the key, what is wrong and what is allowed; those of [`CocoInstances::read`] where the classes
    /// are an instances file's.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        if path.is_dir() {
            return Self::read(&yaml_in(path)?);
        }
        let text = yaml_text::plain(&files::read_text(path, MAX_BYTES)?);
        let mut data = Self::from_text(&text, path).map_err(|problem| DataError::invalid(path, problem))?;
        if data.names.is_empty() {
            let instances = data.first_instances()?;
            data.names = instances.categories().iter().map(|category| category.name.clone()).collect();
            check_names(&data.names).map_err(|problem| DataError::invalid(path, problem))?;
        }
        Ok(data)
    }

    /// The instances file whose categories are the classes.
    fn first_instances(&self) -> Result<CocoInstances, DataError> {
        for (split, _) in SPLITS.iter().filter_map(|split| self.splits.get_key_value(split)) {
            if let Some(file) = self.entries(split)?.iter().find(|entry| files::is_instances(entry)) {
                return CocoInstances::read(file);
            }
        }
        Err(DataError::invalid(&self.file, NO_NAMES))
    }

    fn from_text(text: &str, file: &Path) -> Result<Self, String> {
        let Yaml::Hash(keys) = load(text)? else { return Err("keys such as `train:` and `names:` are needed".into()) };
        let root = match get(&keys, "path") {
            None => PathBuf::new(),
            Some(value) => PathBuf::from(text_of("path", value)?),
        };
        let mut splits = BTreeMap::new();
        for split in SPLITS {
            let value = get(&keys, split).or_else(|| (split == "val").then(|| get(&keys, "validation")).flatten());
            if let Some(value) = value {
                splits.insert(split, entries(split, value)?);
            }
        }
        if splits.is_empty() {
            return Err("it has no split; `train:` and `val:` are needed, each a folder or a .txt list".into());
        }
        let has_instances = splits.values().flatten().any(|entry| files::is_instances(Path::new(entry)));
        let names = match has_instances && get(&keys, "names").or(get(&keys, "nc")).is_none() {
            true => Vec::new(),
            false => class_names(&keys)?,
        };
        Ok(Self { file: file.to_path_buf(), root, splits, names, pose: pose(&keys)? })
    }

    /// The yaml itself.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Names of the classes, by number. No two are equal.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The splits that it has, of `train`, `val` and `test` in this order.
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        SPLITS.into_iter().filter(|split| self.splits.contains_key(split))
    }

    /// Numbers of a pose behind the box of a label row; 0 where the rows are boxes or outlines.
    pub(super) fn pose(&self) -> usize {
        self.pose
    }

    /// The folder that `path` names, from the yaml's folder.
    pub(super) fn root(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(&self.root)
    }

    /// The folders, lists and images of a split (`train`, `val` or `test`), from the root of the file system. Each of
    /// them exists.
    ///
    /// # Errors
    /// `Invalid` if the yaml has no such split, `NotFound` with every path tried.
    pub fn entries(&self, split: &str) -> Result<Vec<PathBuf>, DataError> {
        let Some((&split, entries)) = self.splits.get_key_value(split) else {
            let known: Vec<&str> = self.splits.keys().copied().collect();
            let problem = format!("it has no split `{split}`, only {}; add the key `{split}:`", known.join(", "));
            return Err(DataError::invalid(&self.file, problem));
        };
        Ok(entries.iter().map(|entry| self.locate(split, entry)).collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn locate(&self, split: &str, entry: &str) -> Result<Vec<PathBuf>, DataError> {
        let mut tried = Vec::new();
        for base in [self.file.parent().unwrap_or(Path::new("")), Path::new("")] {
            let folder = base.join(&self.root);
            // Exports exist whose `../` counts from a folder deeper than the yaml's.
            for name in [Some(entry), entry.strip_prefix("../")].into_iter().flatten() {
                let path = files::absolute(&folder.join(name))?;
                if path.exists() {
                    return Ok(vec![path]);
                }
                let matches = files::matches(&folder, name)?;
                if !matches.is_empty() {
                    return Ok(matches);
                }
                if !tried.contains(&path) {
                    tried.push(path);
                }
            }
        }
        let what = format!("`{entry}` as its {split} split");
        Err(DataError::NotFound { path: self.file.clone(), what, tried, remedy: "`path:` or that entry" })
    }
}

/// The data.yaml in a folder: of several yamls the one that is called so, or dataset.yaml.
fn yaml_in(folder: &Path) -> Result<PathBuf, DataError> {
    let io = |source| DataError::io("read the folder", folder, source);
    let (mut yamls, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && path.is_file() { yamls.push(path) } else { others.push(path) }
    }
    for name in ["data.yaml", "dataset.yaml"] {
        if let Some(yaml) = yamls.iter().find(|yaml| yaml.ends_with(name)) {
            return Ok(yaml.clone());
        }
    }
    match (yamls.pop(), yamls.len()) {
        (Some(yaml), 0) => Ok(yaml),
        (None, _) => Err(DataError::invalid(folder, instead(&others))),
        (Some(_), others) => {
            Err(DataError::invalid(folder, format!("a folder with {} yamls; name the one that is meant", others + 1)))
        }
    }
}

/// What a folder without a yaml looks like, by what lies in it, and what to do.
fn instead(paths: &[PathBuf]) -> &'static str {
    let has = |name: &str| paths.iter().any(|path| path.ends_with(name));
    let ends = |extension: &str| paths.iter().any(|path| path.extension().is_some_and(|found| found == extension));
    if has("Annotations") || ends("xml") {
        "a folder of Pascal VOC's xml files, which are not read; export it as YOLO (LabelImg: the button PascalVOC becomes YOLO), \
         and name its data.yaml"
    } else if has("notes.json") || has("classes.txt") {
        "a folder of label files without a data.yaml, such as Label Studio and LabelImg write; write one with `train:`, `val:` and \
         `names:`, those of classes.txt in their order, and name it"
    } else if has("annotations") || ends("json") {
        "a folder of COCO's; name the instances file in it, or write a data.yaml whose `train:` and `val:` name one each"
    } else {
        "a folder without a .yaml; write one with `train:`, `val:` and `names:`, and name it"
    }
}

/// The value of a key, unless it is null.
fn get<'a>(keys: &'a Hash, name: &str) -> Option<&'a Yaml> {
    keys.get(&Yaml::String(name.to_owned())).filter(|value| !value.is_null())
}

/// A scalar as text.
fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn text_of(key: &str, value: &Yaml) -> Result<String, String> {
    scalar(value).filter(|text| !text.is_empty()).ok_or_else(|| format!("key `{key}`: a path is needed"))
}

fn entries(split: &str, value: &Yaml) -> Result<Vec<String>, String> {
    match value {
        Yaml::Array(items) if items.is_empty() => Err(format!("key `{split}`: the list is empty")),
        Yaml::Array(items) => items.iter().map(|item| text_of(split, item)).collect(),
        value => Ok(vec![text_of(split, value)?]),
    }
}

fn class_names(keys: &Hash) -> Result<Vec<String>, String> {
    let nc = get(keys, "nc").map(class_count).transpose()?;
    let names = match (get(keys, "names"), nc) {
        (None, None) => return Err(NO_NAMES.into()),
        (None, Some(nc)) => return Ok((0..nc).map(|class| format!("class_{class}")).collect()),
        (Some(Yaml::Array(items)), _) => {
            let name = |(class, item)| scalar(item).ok_or_else(|| format!("key `names`: class {class} has no name"));
            items.iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()?
        }
        (Some(Yaml::Hash(pairs)), _) => names_by_number(pairs)?,
        (Some(_), _) => return Err("key `names`: a list or a map from each number from 0 is needed".into()),
    };
    check_names(&names)?;
    match nc.filter(|&nc| nc != names.len()) {
        Some(nc) => {
            Err(format!("`nc:` says {nc} classes and `names:` has {}; remove `nc:` or correct it", names.len()))
        }
        None => Ok(names),
    }
}

fn check_names(names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > MAX_CLASSES {
        return Err(format!("key `names`: {} classes, where 1 to {MAX_CLASSES} are allowed", names.len()));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("key `names`: two classes are called `{twice}`; give each its own name")),
        None => Ok(()),
    }
}

/// The numbers of a pose that `kpt_shape: [points, numbers of each]` says.
fn pose(keys: &Hash) -> Result<usize, String> {
    let Some(value) = get(keys, "kpt_shape") else { return Ok(0) };
    let number = |item: &Yaml| scalar(item).and_then(|text| text.trim().parse::<usize>().ok()).filter(|n| *n < 1 << 16);
    let shape: Option<Vec<usize>> = value.as_vec().and_then(|items| items.iter().map(number).collect());
    match shape.as_deref() {
        Some([points, numbers]) => Ok(points * numbers),
        _ => Err("key `kpt_shape`: the number of points and of numbers of each are needed, [17, 3] for one".into()),
    }
}

fn names_by_number(pairs: &Hash) -> Result<Vec<String>, String> {
    let mut names = vec![None; pairs.len()];
    for (key, value) in pairs {
        let number = scalar(key).and_then(|key| key.trim().parse::<usize>().ok());
        let place = number.and_then(|number| names.get_mut(number)).filter(|place| place.is_none());
        let Some(place) = place else {
            let key = scalar(key).unwrap_or_else(|| "a collection".into());
            let last = pairs.len() - 1;
            return Err(format!("key `names`: the numbers must be 0 to {last}, each once, and one is {key}"));
        };
        *place = Some(scalar(value).ok_or_else(|| format!("key `names`: class {} has no name", number.unwrap_or(0)))?);
    }
    Ok(names.into_iter().flatten().collect())
}

/// A whole number, which may be written as text or with a decimal point.
fn class_count(value: &Yaml) -> Result<usize, String> {
    let number = scalar(value).and_then(|text| text.trim().parse::<f64>().ok());
    match number {
        Some(number) if number.fract() == 0. && (1. ..=MAX_CLASSES as f64).contains(&number) => Ok(number as usize),
        _ => Err(format!("key `nc`: a whole number from 1 to {MAX_CLASSES} is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_means_the_only_yaml_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        let error = DataYaml::read(root.path()).expect_err("nothing in it").to_string();
        assert!(error.contains("a folder without a .yaml; write one"), "{error}");
        let write = |name: &str| std::fs::write(root.path().join(name), "val: x\nnames: [a]\n").expect("written");
        write("mine.yml");
        let data = DataYaml::read(root.path()).expect("the only one");
        assert_eq!((data.names(), data.file()), (&["a".to_owned()][..], root.path().join("mine.yml").as_path()));
        write("other.yaml");
        let error = DataYaml::read(root.path()).expect_err("two").to_string();
        assert!(error.contains("a folder with 2 yamls; name the one"), "{error}");
        for name in ["dataset.yaml", "data.yaml"] {
            write(name);
            assert_eq!(DataYaml::read(root.path()).expect("called so").file(), root.path().join(name));
        }
    }

    #[test]
    fn a_folder_of_another_format_is_told_for_what_it_is() {
        for (name, part) in [
            ("a.xml", "Pascal VOC's xml files"),
            ("Annotations", "export it as YOLO"),
            ("classes.txt", "those of classes.txt in their order"),
            ("notes.json", "Label Studio"),
            ("annotations", "name the instances file in it"),
            ("instances_val2017.json", "a folder of COCO's"),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            std::fs::write(root.path().join(name), "").expect("written");
            let error = DataYaml::read(root.path()).expect_err(name).to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
