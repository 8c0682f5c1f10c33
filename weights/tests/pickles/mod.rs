//! Files of `torch.save` around pickles that a test writes.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this file uses a part of it")]

use std::path::Path;

/// A value of a pickle.
#[derive(Debug, Clone)]
pub enum Py {
    None,
    Bool(bool),
    Int(i32),
    Float(f64),
    Str(&'static str),
    Bytes(&'static [u8]),
    Tuple(Vec<Py>),
    List(Vec<Py>),
    Dict(Vec<(Py, Py)>),
    /// Floats of this shape, all of this value.
    Tensor(&'static [i32], f32),
    /// An integer without dimensions.
    Counter(i32),
    /// An instance of a class, with its attributes.
    Object(&'static str, Box<Py>),
}

/// A dict with strings as keys.
pub fn dict<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Py)>) -> Py {
    let key = |key: K| Py::Str(Box::leak(key.into().into_boxed_str()));
    Py::Dict(pairs.into_iter().map(|(name, value)| (key(name), value)).collect())
}

/// A pickle of protocol 3, and the storages that its tensors are in.
#[derive(Default)]
struct Pickler {
    out: Vec<u8>,
    storages: Vec<Vec<u8>>,
}

impl Pickler {
    fn text(&mut self, text: &str) {
        self.out.push(b'X');
        self.out.extend((text.len() as u32).to_le_bytes());
        self.out.extend(text.as_bytes());
    }

    fn int(&mut self, int: i32) {
        self.out.push(b'J');
        self.out.extend(int.to_le_bytes());
    }

    fn ints(&mut self, ints: &[i32]) {
        self.out.push(b'(');
        ints.iter().for_each(|int| self.int(*int));
        self.out.push(b't');
    }

    fn tensor(&mut self, class: &str, shape: &[i32], storage: Vec<u8>) {
        self.out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.out.extend(format!("ctorch\n{class}\n").as_bytes());
        self.text(&self.storages.len().to_string());
        self.text("cpu");
        self.int(shape.iter().product());
        self.out.extend(b"tQ");
        self.int(0);
        self.ints(shape);
        let mut strides = vec![1; shape.len()];
        (1..shape.len()).rev().for_each(|i| strides[i - 1] = strides[i] * shape[i]);
        self.ints(&strides);
        self.out.extend(b"\x89NtR");
        self.storages.push(storage);
    }

    fn value(&mut self, value: &Py) {
        match value {
            Py::None => self.out.push(b'N'),
            Py::Bool(truth) => self.out.push(if *truth { 0x88 } else { 0x89 }),
            Py::Int(int) => self.int(*int),
            Py::Float(float) => {
                self.out.push(b'G');
                self.out.extend(float.to_be_bytes());
            }
            Py::Str(text) => self.text(text),
            Py::Bytes(bytes) => {
                self.out.push(b'B');
                self.out.extend((bytes.len() as u32).to_le_bytes());
                self.out.extend(*bytes);
            }
            Py::Tuple(items) | Py::List(items) => {
                self.out.push(b'(');
                items.iter().for_each(|item| self.value(item));
                self.out.push(if matches!(value, Py::Tuple(_)) { b't' } else { b'l' });
            }
            Py::Dict(pairs) => {
                self.out.push(b'(');
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
                self.out.push(b'd');
            }
            Py::Tensor(shape, value) => {
                let count = shape.iter().product::<i32>() as usize;
                self.tensor("FloatStorage", shape, value.to_le_bytes().repeat(count));
            }
            Py::Counter(count) => self.tensor("LongStorage", &[], i64::from(*count).to_le_bytes().to_vec()),
            Py::Object(class, state) => {
                let (module, name) = class.rsplit_once('.').expect("module.name");
                self.out.extend(format!("c{module}\n{name}\n)").as_bytes());
                self.out.push(0x81);
                self.value(state);
                self.out.push(b'b');
            }
        }
    }
}

/// Writes what `torch.save` would of `value`.
pub fn save(path: &Path, value: &Py) {
    let mut pickler = Pickler { out: b"\x80\x03".to_vec(), ..Default::default() };
    pickler.value(value);
    pickler.out.push(b'.');
    archive(path, &pickler.out, &pickler.storages);
}

/// A file of `torch.save` around any pickle, with these storages.
pub fn archive(path: &Path, pickle: &[u8], storages: &[Vec<u8>]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("created"));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut entry = |name: String, content: &[u8]| {
        zip.start_file(name, stored).expect("entry");
        std::io::Write::write_all(&mut zip, content).expect("written");
    };
    entry("archive/data.pkl".to_owned(), pickle);
    for (i, storage) in storages.iter().enumerate() {
        entry(format!("archive/data/{i}"), storage);
    }
    zip.finish().expect("finished");
}
