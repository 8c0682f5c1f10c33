//! From the values of a file to named tensors and metadata.

use std::collections::{BTreeMap, HashSet};

use super::refusal::Refusal;
use super::torch_file::TorchFile;
use super::value::{Arena, Id, Value};
use crate::budget::Budget;
use crate::checkpoint::{Checkpoint, Metadata};

/// Most tensors and containers that one checkpoint may name.
const MAX_NAMES: usize = 200_000;
/// Most entries of dicts that are looked at on the way, since shared ones could be visited without end.
const MAX_WORK: usize = 5_000_000;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;
/// What a tensor takes beside its elements and its name, in bytes: here, as candle's and in the maps by its name.
const TENSOR: usize = 700;
/// How often its name is there at a time: before and after names are mapped to ours.
const NAMES: usize = 2;
/// What a name in a set of names takes.
const IN_SET: usize = 64;
/// Longest text that is kept of what a file says about itself, in bytes.
const MAX_TEXT: usize = 4096;
/// Most nested modules or dicts on the way to a tensor.
const MAX_DEPTH: usize = 64;

/// Where training scripts put the weights, best first: an average of the weights before the weights themselves, then in
/// timm's order.
const WRAPPERS: [&str; 8] =
    ["ema", "state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "module"];
/// Most values and fields that are looked at to find out which of them holds weights.
const MAX_LOOKED_AT: usize = 5_000_000;

/// Reads the weights and what the file says about them. `Ok(None)` where the file holds no tensors.
pub(crate) fn extract(file: &mut TorchFile<'_>) -> Result<Option<Checkpoint>, Refusal> {
    let weights = find_weights(&file.arena, file.root);
    let mut names = Names { found: BTreeMap::new(), names: MAX_NAMES, work: MAX_WORK, budget: file.budget };
    names.walk(&file.arena, weights, String::new(), MAX_DEPTH)?;
    file.budget = names.budget;
    let mut metadata = metadata(&file.arena, file.root, weights);
    metadata.stride = file.arena.field(weights, "stride").and_then(|id| strides(file, id));
    let mut tensors = BTreeMap::new();
    for (name, found) in names.found {
        match found {
            Found::Tensor(id) if file.is_counter(id) => {}
            Found::Tensor(id) => drop(tensors.insert(name, file.tensor(id)?)),
            Found::Unread(why) => drop(metadata.unread.insert(name, why)),
        }
    }
    let is_empty = tensors.is_empty() && metadata.unread.is_empty();
    Ok(if is_empty { None } else { Some(Checkpoint { tensors, metadata, ..Default::default() }) })
}

/// The value that holds the weights: the root, or what the first known wrapper with weights below it holds.
fn find_weights(arena: &Arena, root: Id) -> Id {
    let (mut weights, mut left) = (root, MAX_LOOKED_AT);
    for _ in 0..4 {
        if is_module(arena, weights) {
            break;
        }
        let mut wrapped = WRAPPERS.iter().filter_map(|wrapper| arena.field(weights, wrapper));
        match wrapped.find(|id| holds_weights(arena, *id, &mut left, MAX_DEPTH)) {
            Some(inner) => weights = inner,
            None => break,
        }
    }
    weights
}

/// Whether a dict or a module has a tensor with a name below it, other than a number such as a decay or a counter.
fn holds_weights(arena: &Arena, id: Id, left: &mut usize, depth: usize) -> bool {
    let fields = 1 + arena.pairs(id).map_or(0, <[_]>::len);
    let (Some(less), Some(depth)) = (left.checked_sub(fields), depth.checked_sub(1)) else { return false };
    *left = less;
    match arena.get(id) {
        Value::Tensor(tensor) => !tensor.shape.is_empty(),
        Value::Unread(_) => true,
        _ if is_module(arena, id) => GROUPS
            .iter()
            .filter_map(|group| arena.field(id, group))
            .any(|group| holds_weights(arena, group, left, depth)),
        Value::Dict(pairs) => pairs.iter().any(|(key, value)| {
            let is_name = matches!(arena.get(*key), Value::Str(_) | Value::Int(_));
            is_name && holds_weights(arena, *value, left, depth)
        }),
        _ => false,
    }
}

/// Where a module keeps what has a name.
const GROUPS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// A pickled `torch.nn.Module`.
fn is_module(arena: &Arena, id: Id) -> bool {
    matches!(arena.get(id), Value::Object(_)) && arena.field(id, "_modules").is_some()
}

enum Found {
    Tensor(Id),
    /// What is wrong with it.
    Unread(String),
}

struct Names {
    found: BTreeMap<String, Found>,
    /// Values that may still be visited: shared containers could otherwise name exponentially many tensors.
    names: usize,
    work: usize,
    budget: Budget,
}

impl Names {
    fn walk(&mut self, arena: &Arena, id: Id, prefix: String, depth: usize) -> Result<(), Refusal> {
        let too_much = |what: &str| Refusal::Invalid { offset: 0, reason: format!("{what} at `{prefix}`") };
        self.names = self.names.checked_sub(1).ok_or_else(|| too_much("more than 200000 names"))?;
        let depth = depth.checked_sub(1).ok_or_else(|| too_much("modules nested deeper than 64"))?;
        let entries = |id: Id| arena.pairs(id).map_or(0, <[_]>::len) + arena.sequence(id).map_or(0, <[_]>::len);
        let mut work = entries(id);
        if is_module(arena, id) {
            let groups = ["_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"];
            work += groups.iter().filter_map(|group| arena.field(id, group)).map(entries).sum::<usize>();
        }
        self.work = self.work.checked_sub(work).ok_or_else(|| too_much("too many entries"))?;
        let join = |key: &str| match prefix.len() + key.len() {
            0..=MAX_NAME if prefix.is_empty() => Ok(key.to_owned()),
            0..=MAX_NAME => Ok([prefix.as_str(), ".", key].concat()),
            _ => Err(too_much("too long a name")),
        };
        match arena.get(id) {
            Value::Tensor(_) => {
                self.budget.charge(TENSOR + NAMES * prefix.len())?;
                self.found.insert(prefix, Found::Tensor(id));
            }
            Value::Unread(why) => {
                self.budget.charge(TENSOR + NAMES * (prefix.len() + why.len()))?;
                self.found.insert(prefix, Found::Unread(why.clone()));
            }
            _ if is_module(arena, id) => {
                for group in GROUPS {
                    let Some(group_id) = arena.field(id, group) else { continue };
                    let pairs = arena.pairs(group_id).unwrap_or_default();
                    let unsaved = (group == "_buffers" && !pairs.is_empty())
                        .then(|| arena.sequence(arena.field(id, "_non_persistent_buffers_set")?))
                        .flatten()
                        .unwrap_or_default();
                    self.budget.afford(unsaved.len().saturating_mul(IN_SET))?;
                    let unsaved: HashSet<&str> = unsaved.iter().filter_map(|name| arena.str(*name)).collect();
                    for (key, value) in pairs {
                        let Some(key) = arena.str(*key) else { continue };
                        if !unsaved.contains(key) {
                            self.walk(arena, *value, join(key)?, depth)?;
                        }
                    }
                }
            }
            Value::Dict(pairs) => {
                for (key, value) in pairs {
                    match arena.get(*key) {
                        Value::Str(key) => self.walk(arena, *value, join(key)?, depth)?,
                        Value::Int(key) => self.walk(arena, *value, join(&key.to_string())?, depth)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn metadata(arena: &Arena, root: Id, weights: Id) -> Metadata {
    let attribute = |key: &str| arena.field(weights, key).or_else(|| arena.field(root, key));
    let short = |text: &&str| text.len() <= MAX_TEXT;
    let text = |key: &str| attribute(key).and_then(|id| arena.str(id)).filter(short).map(str::to_owned);
    let json = |key: &str| attribute(key).map(|id| arena.json(id)).filter(|value| !value.is_null());
    let train_args = arena.field(root, "train_args").map(|id| arena.json(id)).filter(serde_json::Value::is_object);
    let train_args = train_args.or_else(|| json("args").filter(serde_json::Value::is_object));
    let argument = |key: &str| train_args.as_ref().and_then(|args| args.get(key));
    let epoch = arena.field(root, "epoch").and_then(|id| match arena.get(id) {
        Value::Int(epoch) => Some(*epoch),
        _ => None,
    });
    let names = attribute("names").and_then(|id| names(arena, id));
    let yaml_classes = attribute("yaml").and_then(|id| arena.usize(arena.field(id, "nc")?));
    Metadata {
        arch: text("arch").or_else(|| text("arch_name")),
        task: text("task")
            .or_else(|| argument("task")?.as_str().map(str::to_owned))
            .or_else(|| task(class(arena, weights)?).map(str::to_owned)),
        nc: attribute("nc").and_then(|id| arena.usize(id)).or(yaml_classes).or(names.as_ref().map(Vec::len)),
        names,
        yaml: json("yaml").filter(serde_json::Value::is_object).map(|yaml| as_built(arena, weights, yaml)),
        imgsz: argument("imgsz").and_then(side),
        train_args: train_args.clone(),
        licence: text("license"),
        epoch,
        ..Default::default()
    }
}

/// The yaml with the classes that the layers really have. Users put their own class in place of one that the yaml names
/// (a `C2fGhost` for `C3Ghost`), and the yaml in the checkpoint does not know.
fn as_built(arena: &Arena, weights: Id, mut yaml: serde_json::Value) -> serde_json::Value {
    let layers = arena.field(weights, "_modules").and_then(|modules| arena.field(modules, "model"));
    let layers = layers.and_then(|model| arena.pairs(arena.field(model, "_modules")?)).unwrap_or_default();
    let mut built = layers.iter().map(|(_, layer)| class(arena, *layer));
    for part in ["backbone", "head"] {
        for row in yaml.get_mut(part).and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
            let Some(Some(class)) = built.next() else { continue };
            let Some(module) = row.get_mut(2) else { continue };
            let named = module.as_str().and_then(|name| name.rsplit('.').next());
            // A repeated layer is a Sequential of what the yaml names.
            if class != "Sequential" && named.is_some_and(|name| name != class) {
                *module = class.into();
            }
        }
    }
    yaml
}

/// The name of an object's class, without its module.
fn class(arena: &Arena, id: Id) -> Option<&str> {
    match arena.get(id) {
        Value::Object(object) => match arena.get(object.class) {
            Value::Global(name) => name.rsplit('.').next(),
            _ => None,
        },
        _ => None,
    }
}

/// What a model of Ultralytics' class is for.
fn task(class: &str) -> Option<&'static str> {
    Some(match class {
        "DetectionModel" => "detect",
        "SegmentationModel" => "segment",
        "PoseModel" => "pose",
        "OBBModel" => "obb",
        "ClassificationModel" => "classify",
        _ => return None,
    })
}

/// Strides of a tensor of whole numbers.
fn strides(file: &mut TorchFile<'_>, id: Id) -> Option<Vec<usize>> {
    let Value::Tensor(tensor) = file.arena.get(id) else { return None };
    if tensor.shape.len() != 1 || tensor.shape[0] > 16 {
        return None;
    }
    let values = file.tensor(id).ok()?.to_dtype(candle_core::DType::F64).ok()?.flatten_all().ok()?;
    let whole = |v: f64| (v >= 1. && v.fract() == 0. && v < 65_536.).then_some(v as usize);
    values.to_vec1::<f64>().ok()?.into_iter().map(whole).collect()
}

/// `imgsz` as a side, or as a list of sides whose largest counts.
fn side(value: &serde_json::Value) -> Option<usize> {
    let largest = || value.as_array()?.iter().filter_map(serde_json::Value::as_u64).max();
    value.as_u64().or_else(largest).and_then(|side| usize::try_from(side).ok())
}

/// Most class names, and most bytes of all of them.
const MAX_CLASSES: usize = 65_536;
const MAX_NAMES_BYTES: usize = 4 << 20;

/// Class names of a list or of a dict from id to name, as Python's `str` shows them; an id without one has its number.
fn names(arena: &Arena, id: Id) -> Option<Vec<String>> {
    let (mut names, mut left) = (Vec::new(), MAX_NAMES_BYTES);
    let mut name = |id: usize, name: Id| -> Option<()> {
        (id < MAX_CLASSES).then_some(())?;
        names.extend((names.len()..=id).map(|id| id.to_string()));
        if let Some(text) = arena.text(name) {
            left = left.checked_sub(text.len())?;
            names[id] = text;
        }
        Some(())
    };
    match arena.pairs(id) {
        Some(pairs) if pairs.len() > MAX_CLASSES => return None,
        Some(pairs) => pairs.iter().try_for_each(|(id, text)| {
            let id = arena.usize(*id).or_else(|| arena.str(*id)?.trim().parse().ok())?;
            name(id, *text)
        })?,
        None => arena.sequence(id)?.iter().enumerate().try_for_each(|(id, text)| name(id, *text))?,
    }
    (!names.is_empty()).then_some(names)
}
