//! The few callables whose call means plain data. Nothing is called: each is replaced by what it would return.

use super::machine::{Refusal, Result, invalid};
use super::value::{Arena, Element, Id, TensorRef, Value};

/// The last part of a dotted name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// The value of `callable(*args)`; refused by name unless the callable is known to build data.
pub(super) fn call(arena: &mut Arena, callable: Id, args: Id) -> Result<Id> {
    let Value::Global(name) = arena.get(callable) else {
        return Err(Refusal::Called("a value that is no global".to_owned()));
    };
    let name = name.clone();
    let args = arena.sequence(args).unwrap_or_default().to_vec();
    let value = match name.as_str() {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => tensor(arena, &args, None)?,
        "torch._utils._rebuild_tensor_v3" => {
            let element = args.get(6).and_then(|id| match arena.get(*id) {
                Value::Global(dtype) => Element::from_name(last(dtype)),
                _ => None,
            });
            tensor(arena, &args, element)?
        }
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            return args.first().copied().map_or_else(|| invalid("a parameter without its data"), Ok);
        }
        "collections.OrderedDict" | "builtins.dict" | "__builtin__.dict" => Value::Dict(pairs(arena, args.first())),
        "collections.defaultdict" => Value::Dict(pairs(arena, args.get(1))),
        "torch.Size" | "builtins.tuple" | "__builtin__.tuple" => Value::Tuple(elements(arena, args.first())),
        "builtins.list" | "__builtin__.list" | "collections.deque" => Value::List(elements(arena, args.first())),
        "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset" => {
            Value::Set(elements(arena, args.first()))
        }
        "_codecs.encode" => match args.first().and_then(|id| arena.str(*id)) {
            // Protocol 2 writes bytes as a Latin-1 string.
            Some(text) => Value::Bytes(text.chars().map(|c| c as u32 as u8).collect()),
            None => return invalid("bytes without their text"),
        },
        "pathlib.PosixPath"
        | "pathlib.WindowsPath"
        | "pathlib.PurePosixPath"
        | "pathlib.PureWindowsPath"
        | "pathlib._local.PosixPath"
        | "pathlib._local.WindowsPath" => {
            let parts: Vec<&str> = args.iter().filter_map(|id| arena.str(*id)).collect();
            Value::Str(parts.join("/").replace("//", "/"))
        }
        "builtins.bytearray"
        | "__builtin__.bytearray"
        | "builtins.bytes"
        | "__builtin__.bytes"
        | "builtins.complex"
        | "builtins.slice"
        | "builtins.range"
        | "torch.device"
        | "torch.Generator"
        | "datetime.datetime"
        | "datetime.date"
        | "datetime.timedelta"
        | "datetime.timezone"
        | "types.SimpleNamespace"
        | "argparse.Namespace"
        | "ultralytics.utils.IterableSimpleNamespace"
        | "numpy.dtype"
        | "numpy.core.multiarray.scalar"
        | "numpy.core.multiarray._reconstruct"
        | "numpy._core.multiarray.scalar"
        | "numpy._core.multiarray._reconstruct"
        | "functools.partial"
        | "uuid.UUID"
        | "torch.nn.parameter.Buffer" => {
            Value::Object { class: last(&name).to_owned(), args, state: None, items: Vec::new() }
        }
        // `copyreg._reconstructor(class, base, state)` is how protocols 0 and 1 write an instance.
        "copyreg._reconstructor" | "copy_reg._reconstructor" => match args.first() {
            Some(class) => instance(arena, *class, Vec::new())?,
            None => return invalid("an instance without its class"),
        },
        _ => return Err(Refusal::Called(name)),
    };
    Ok(arena.push(value))
}

/// An instance of `class` that is built and not called.
pub(super) fn instance(arena: &Arena, class: Id, args: Vec<Id>) -> Result<Value> {
    let Value::Global(name) = arena.get(class) else { return invalid("an instance of something that is no class") };
    Ok(match name.as_str() {
        "collections.OrderedDict" | "collections.defaultdict" => Value::Dict(Vec::new()),
        _ => Value::Object { class: last(name).to_owned(), args, state: None, items: Vec::new() },
    })
}

fn elements(arena: &Arena, id: Option<&Id>) -> Vec<Id> {
    id.and_then(|id| arena.sequence(*id)).unwrap_or_default().to_vec()
}

/// The pairs of a dict, or of a list of two-element sequences.
fn pairs(arena: &Arena, id: Option<&Id>) -> Vec<(Id, Id)> {
    let Some(id) = id else { return Vec::new() };
    if let Some(pairs) = arena.pairs(*id) {
        return pairs.to_vec();
    }
    let pair = |id: &Id| match arena.sequence(*id) {
        Some([key, value]) => Some((*key, *value)),
        _ => None,
    };
    arena.sequence(*id).unwrap_or_default().iter().filter_map(pair).collect()
}

/// `(storage, offset, size, stride, …)`.
fn tensor(arena: &Arena, args: &[Id], element: Option<Element>) -> Result<Value> {
    let sizes =
        |i: usize| -> Option<Vec<usize>> { arena.sequence(*args.get(i)?)?.iter().map(|id| arena.usize(*id)).collect() };
    let (Some(Value::Storage(storage)), Some(offset), Some(shape), Some(stride)) =
        (args.first().map(|id| arena.get(*id)), args.get(1).and_then(|id| arena.usize(*id)), sizes(2), sizes(3))
    else {
        return invalid("a tensor without its storage, offset, size or stride");
    };
    let Some(element) = element.or(storage.element) else { return invalid("a tensor of untyped bytes") };
    if shape.len() != stride.len() || shape.len() > MAX_RANK {
        return invalid(format!("a tensor of size {shape:?} with strides {stride:?}"));
    }
    Ok(Value::Tensor(TensorRef { storage: storage.clone(), element, offset, shape, stride }))
}
