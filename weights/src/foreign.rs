//! Files that are no checkpoints, told by how they begin or by what their archive holds.

/// What to give in place of a file that a program runs.
macro_rules! exported {
    ($what:literal) => {
        concat!(
            $what,
            ", which a program runs and which is no checkpoint: give the .pt or .safetensors it was exported from"
        )
    };
}

/// What a file that is neither safetensors nor of torch.save looks like, and what to do.
pub(crate) fn file(bytes: &[u8]) -> &'static str {
    let start = bytes.trim_ascii_start();
    let starts_with = |text: &str| start.get(..text.len()).is_some_and(|s| s.eq_ignore_ascii_case(text.as_bytes()));
    if starts_with("<!doctype html") || starts_with("<html") {
        return "a web page (a download that failed?)";
    }
    if starts_with("<?xml") || starts_with("<net") {
        return exported!("XML, such as a model of OpenVINO");
    }
    if starts_with("version https://git-lfs") {
        return "a pointer of Git LFS (run `git lfs pull`)";
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "a tar archive (files of PyTorch 0.1.1 must be loaded and saved again by a newer one)";
    }
    match bytes {
        [0x80, 0..=5, ..] => "a bare pickle (save it with torch.save instead)",
        [0x89, b'H', b'D', b'F', b'\r', b'\n', ..] => {
            "HDF5, such as Keras writes (only weights of PyTorch are read: timm's or Ultralytics')"
        }
        [0x08, 1, 0x12, 0x80..=0xff, ..] => exported!("a model of TensorFlow"),
        [0x08, 1..=31, 0x12, 1..=63, b' '..=b'~', ..] | [0x08, 1..=31, 0x3a, ..] => exported!("an ONNX model"),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => exported!("a model of TensorFlow Lite"),
        [b'7', b'7', b'6', b'7', b'5', b'1', b'7', b'\n', ..] => exported!("a model of ncnn"),
        [b'f' | b'p', b't', b'r', b't', ..] => exported!("an engine of TensorRT"),
        [b'G', b'G', b'U', b'F', ..] => "GGUF, which holds language models",
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            "an array of numpy (a checkpoint has a name for each of its tensors)"
        }
        [0x1f, 0x8b, ..] => "compressed by gzip (run `gunzip` on it)",
        [0xff, 0xd8, 0xff, ..] | [0x89, b'P', b'N', b'G', ..] => "an image",
        _ => "something else",
    }
}

/// What a zip that torch.save did not write looks like, by the names of its entries, and what to do.
pub(crate) fn archive<'a>(names: impl Iterator<Item = &'a str> + Clone) -> &'static str {
    let has = |part: &str| names.clone().any(|name| name.rsplit('/').next() == Some(part));
    if has("constants.pkl") || has("bytecode.pkl") {
        exported!("it is a TorchScript archive")
    } else if has("archive_format") {
        exported!("it is an archive of torch.export")
    } else if has("extern_modules") {
        "it is an archive of torch.package; load it in Python and save its state_dict() with torch.save"
    } else if has("model.weights.h5") {
        "it is a model of Keras (only weights of PyTorch are read: timm's or Ultralytics')"
    } else if has("MANIFEST.json") {
        "it is an archive of TorchServe; give the checkpoint that lies in it"
    } else if names.clone().any(|name| name.ends_with(".npy")) {
        "it holds arrays of numpy; load them in Python and save a state_dict() with torch.save"
    } else {
        "it is a zip without data.pkl, which torch.save did not write; if a checkpoint lies in it, unpack it first"
    }
}
