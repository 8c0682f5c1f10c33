//! Checkpoints and names of other YOLOs than those that are read: what they are, and what is read instead.

use ghostzoo_weights::{Checkpoint, KeyLayout};
use serde_json::Value;

use crate::error::{Result, invalid};

/// What is read.
const READ: &str = "what is read are YOLOv8 detectors and their Ghost variants";

/// Modules that YOLOv8 does not have, and the models that do.
const MODULES: [(&str, &str); 20] = [
    ("v10Detect", "YOLOv10"),
    ("SCDown", "YOLOv10"),
    ("C2fCIB", "YOLOv10"),
    ("PSA", "YOLOv10"),
    ("A2C2f", "YOLO12"),
    ("C3k2", "YOLO11 or YOLO26"),
    ("C2PSA", "YOLO11 or YOLO26"),
    ("RepNCSPELAN4", "YOLOv9"),
    ("ELAN1", "YOLOv9"),
    ("AConv", "YOLOv9"),
    ("ADown", "YOLOv9"),
    ("RTDETRDecoder", "RT-DETR"),
    ("HGStem", "RT-DETR"),
    ("WorldDetect", "YOLO-World"),
    ("C2fAttn", "YOLO-World"),
    ("YOLOEDetect", "YOLOE"),
    ("YOLOESegment", "YOLOE"),
    ("SPP", "YOLOv3"),
    ("Focus", "YOLOv5 before its version 6"),
    ("nn.ConvTranspose2d", "YOLOv6"),
];

/// Refuses a checkpoint of Ultralytics' that is for another task than detection, or of another family than YOLOv8.
pub(crate) fn refuse(checkpoint: &Checkpoint) -> Result<()> {
    let metadata = &checkpoint.metadata;
    if metadata.layout != KeyLayout::Ultralytics && metadata.yaml.is_none() {
        return Ok(());
    }
    let task = metadata.task.as_deref().filter(|task| *task != "detect").or_else(|| task_of(checkpoint));
    if let Some(task) = task {
        invalid!("it is a model for the task `{task}`, and only those for `detect` are read{}", instead(task));
    }
    if let Some(family) = metadata.yaml.as_ref().and_then(family_of).or_else(|| family_by_names(checkpoint)) {
        invalid!("it is of {family}; {READ}");
    }
    Ok(())
}

/// What reads a task's models.
fn instead(task: &str) -> &'static str {
    if task == "classify" { "; `Classifier` reads GhostNets" } else { "" }
}

/// The task of a bare state dict, by the parts of its head.
fn task_of(checkpoint: &Checkpoint) -> Option<&'static str> {
    let head = |part: &str| checkpoint.tensors.keys().any(|name| name.contains(part));
    if head(".proto.") {
        Some("segment")
    } else if head(".cv4.") && head(".cv3.") {
        // An angle is one number; a keypoint has two coordinates.
        let angle = |(name, tensor): (&String, &candle_core::Tensor)| {
            name.ends_with(".cv4.0.2.bias") && tensor.elem_count() == 1
        };
        Some(if checkpoint.tensors.iter().any(angle) { "obb" } else { "pose" })
    } else if head(".linear.weight") && !head(".cv3.0.") {
        Some("classify")
    } else {
        None
    }
}

/// The family of a checkpoint's yaml, by the first module that YOLOv8 does not have.
fn family_of(yaml: &Value) -> Option<String> {
    let rows = ["backbone", "head"].into_iter().filter_map(|part| yaml.get(part)?.as_array()).flatten();
    let mut found = rows.enumerate().filter_map(|(layer, row)| {
        let module = row.get(2)?.as_str()?;
        let (_, family) = MODULES.iter().find(|(name, _)| *name == module)?;
        Some((layer, module, *family))
    });
    let (layer, module, family) = found.next()?;
    // The file that it was built from says more; a YOLOv8 of the user's own is none of the families.
    let file = yaml.get("yaml_file").and_then(Value::as_str).and_then(stem).unwrap_or_default();
    match family_named(&file) {
        Some(family) => Some(format!("{family} (layer {layer} is {module})")),
        None if file.starts_with("yolov8") => None,
        None => Some(format!("{family} (layer {layer} is {module})")),
    }
}

/// The family of a bare state dict.
fn family_by_names(checkpoint: &Checkpoint) -> Option<String> {
    let has = |part: &str| checkpoint.tensors.keys().any(|name| name.contains(part));
    if has(".attn.") {
        Some("a later family, with attention".to_owned())
    } else if has(".one2one_cv") {
        Some("a family with a head for one box each, such as YOLOv10".to_owned())
    } else {
        None
    }
}

/// What a name or a file's name means that is none of ours, such as `yolo11n.pt` or `yolov8n-seg`.
pub(crate) fn named(text: &str) -> Option<String> {
    let stem = stem(text)?;
    if let Some(family) = family_named(&stem) {
        return Some(format!("`{text}` is of {family}; {READ} (`Registry` lists all names)"));
    }
    let (_, suffix) = stem.strip_prefix("yolov8")?.split_once('-')?;
    let task = match suffix {
        "seg" => "segment",
        "pose" | "pose-p6" => "pose",
        "obb" => "obb",
        "cls" => "classify",
        _ => return None,
    };
    Some(format!("`{text}` is for the task `{task}`, and only models for `detect` are read{}", instead(task)))
}

/// A file's name without folders and without its last extension, in lower case.
fn stem(text: &str) -> Option<String> {
    let name = text.rsplit(['/', '\\']).next()?.to_ascii_lowercase();
    let extension = [".pt", ".pth", ".yaml", ".yml", ".safetensors"].into_iter().find_map(|end| name.strip_suffix(end));
    Some(extension.unwrap_or(&name).to_owned())
}

/// The family of a stem such as `yolo11n-seg`, where it is another than YOLOv8.
fn family_named(stem: &str) -> Option<String> {
    for (start, family) in [("rtdetr", "RT-DETR"), ("yoloe", "YOLOE"), ("yolo_nas", "YOLO-NAS"), ("fastsam", "FastSAM")]
    {
        if stem.starts_with(start) {
            return Some(family.to_owned());
        }
    }
    let rest = stem.strip_prefix("yolo")?;
    let (v, rest) = rest.strip_prefix('v').map_or(("", rest), |rest| ("v", rest));
    let digits = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
    match digits {
        "3" | "4" | "5" | "6" | "7" | "9" | "10" | "11" | "12" | "13" | "26" => Some(format!("YOLO{v}{digits}")),
        "8" if rest.contains("world") => Some("YOLO-World".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_families_and_tasks_are_known_for_what_they_are() {
        for (name, part) in [
            ("yolo11n", "YOLO11"),
            ("yolo11x-seg.pt", "YOLO11"),
            ("models/YOLO26s.pt", "YOLO26"),
            ("yolov5nu", "YOLOv5"),
            ("yolov10b.yaml", "YOLOv10"),
            ("yolo12n", "YOLO12"),
            ("rtdetr-l.pt", "RT-DETR"),
            ("yolov8s-worldv2.pt", "YOLO-World"),
            ("yolov8n-seg.pt", "`segment`"),
            ("yolov8x-pose-p6", "`pose`"),
            ("yolov8n-obb", "`obb`"),
            ("yolov8n-cls.pt", "GhostNets"),
        ] {
            let text = named(name).unwrap_or_else(|| panic!("{name} is known"));
            assert!(text.contains(part) && text.contains("read"), "{name}: {text}");
        }
        for ours in ["yolov8n", "yolov8n-ghost-p6", "yolo8n", "yolov8", "ghostnet_100", "best.pt", "yolo", "yolov80"] {
            assert_eq!(named(ours), None, "{ours}");
        }
    }
}
