//! The few callables whose call means plain data. Nothing is called: each is replaced by what it would return.

use super::refusal::{Refusal, Result, invalid};
use super::value::{Arena, Element, Id, Object, TensorRef, Value};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;
/// Longest name of an element type of numpy's, in bytes.
const MAX_DTYPE: usize = 16;
/// Longest path, in bytes.
const MAX_PATH: usize = 4096;

/// How a nested tensor of ragged rows is built.
const NESTED: &str = "torch.nested._internal.nested_tensor._rebuild_njt";

/// What a call gives: something new, or one of its own arguments.
enum Outcome {
    New(Value),
    Same(Id),
}

/// The value of `callable(*args)`; refused by name unless the callable is known to build data.
pub(super) fn call(arena: &mut Arena, callable: Id, args: Id) -> Result<Id> {
    arena.budget.afford(most_copied(arena, args))?;
    match outcome(arena, callable, args)? {
        Outcome::New(value) => {
            arena.charge(match &value {
                Value::List(items) | Value::Tuple(items) | Value::Set(items) => size_of_val(items.as_slice()),
                Value::Dict(pairs) => size_of_val(pairs.as_slice()),
                Value::Bytes(bytes) => bytes.len(),
                Value::Str(text) | Value::Unread(text) => text.len(),
                _ => 0,
            })?;
            arena.push(value)
        }
        Outcome::Same(id) => Ok(id),
    }
}

/// Most bytes that a call takes while it copies its arguments.
fn most_copied(arena: &Arena, args: Id) -> usize {
    // Pairs of lists grow by doubling; a path's parts are listed.
    const GROWTH: usize = 6;
    let args = arena.sequence(args).unwrap_or_default();
    let bytes = |id: &Id| match arena.get(*id) {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => {
            let (items, pairs) = (arena.sequence(*id).unwrap_or_default(), arena.pairs(*id).unwrap_or_default());
            size_of_val(items) + size_of_val(pairs)
        }
    };
    GROWTH * args.iter().take(2).map(bytes).max().unwrap_or(0) + 2 * GROWTH * size_of_val(args)
}

fn outcome(arena: &Arena, callable: Id, args: Id) -> Result<Outcome> {
    let Value::Global(name) = arena.get(callable) else {
        return Err(Refusal::Called("a value that is no global".to_owned()));
    };
    let args = arena.sequence(args).unwrap_or_default();
    Ok(Outcome::New(match name.as_str() {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => tensor(arena, args, None, args.get(6))?,
        "torch._utils._rebuild_tensor_v3" => tensor(arena, args, args.get(6), args.get(7))?,
        "torch._utils._rebuild_sparse_tensor" | "torch._utils._rebuild_sparse_csr_tensor" => {
            Value::Unread("is sparse; save its to_dense()".to_owned())
        }
        "torch._utils._rebuild_qtensor" => Value::Unread("is quantized; save its dequantize()".to_owned()),
        "torch._utils._rebuild_meta_tensor_no_storage" => {
            Value::Unread("is on the meta device, without values; save it from a model that has its weights".to_owned())
        }
        "torch._utils._rebuild_nested_tensor" | NESTED => {
            Value::Unread("is nested; save its to_padded_tensor(0)".to_owned())
        }
        "torch._utils._rebuild_wrapper_subclass" => {
            Value::Unread("is of a subclass of Tensor; save a plain tensor".to_owned())
        }
        "torch._utils._rebuild_device_tensor_from_numpy" => {
            Value::Unread("is on a device that PyTorch saves by way of numpy; save its cpu()".to_owned())
        }
        "torch._tensor._rebuild_from_type_v2" => match args {
            // (function, type, its arguments, state): a subclass of Tensor around one of these functions.
            [function, _, inner, ..] if is_rebuild(arena, *function) => return outcome(arena, *function, *inner),
            _ => return Err(Refusal::Called(name.clone())),
        },
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch._utils._rebuild_device_tensor_from_cpu_tensor" => match args.first() {
            Some(data) => return Ok(Outcome::Same(*data)),
            None => return invalid("a parameter without its data"),
        },
        "collections.OrderedDict" | "builtins.dict" | "__builtin__.dict" | "collections.Counter" => {
            Value::Dict(pairs(arena, args.first()))
        }
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
        // By its name alone; what follows it (byte order, sizes) is for arrays.
        "numpy.dtype" => match args.first().and_then(|id| arena.str(*id)).filter(|name| name.len() <= MAX_DTYPE) {
            Some(name) => Value::Str(name.to_owned()),
            None => object(callable),
        },
        "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => match args {
            [dtype, data] => match (arena.str(*dtype), arena.get(*data)) {
                (Some(dtype), Value::Bytes(bytes)) => {
                    arena.numpy_scalar(dtype, bytes).unwrap_or_else(|| object(callable))
                }
                _ => object(callable),
            },
            _ => object(callable),
        },
        "pathlib.PosixPath"
        | "pathlib.WindowsPath"
        | "pathlib.PurePosixPath"
        | "pathlib.PureWindowsPath"
        | "pathlib._local.PosixPath"
        | "pathlib._local.WindowsPath" => {
            let parts: Vec<&str> = args.iter().filter_map(|id| arena.str(*id)).collect();
            if parts.iter().map(|part| part.len() + 1).sum::<usize>() > MAX_PATH {
                return invalid("a path that is too long");
            }
            Value::Str(parts.join("/").replace("//", "/"))
        }
        "builtins.bytearray"
        | "__builtin__.bytearray"
        | "builtins.bytes"
        | "__builtin__.bytes"
        | "builtins.complex"
        | "builtins.slice"
        | "builtins.range"
        | "__builtin__.complex"
        | "__builtin__.slice"
        | "__builtin__.xrange"
        | "torch.device"
        | "torch.Generator"
        | "torch.serialization._get_layout"
        | "torch.nn.parameter.UninitializedBuffer"
        | "torch.nn.parameter.UninitializedParameter"
        | "datetime.datetime"
        | "datetime.date"
        | "datetime.timedelta"
        | "datetime.timezone"
        | "types.SimpleNamespace"
        | "argparse.Namespace"
        | "ultralytics.utils.IterableSimpleNamespace"
        | "numpy.core.multiarray._reconstruct"
        | "numpy._core.multiarray._reconstruct"
        | "numpy.random._pickle.__bit_generator_ctor"
        | "numpy.random._pickle.__generator_ctor"
        | "numpy.random._pickle.__randomstate_ctor"
        | "numpy.random.bit_generator.__pyx_unpickle_SeedSequence"
        | "decimal.Decimal"
        | "fractions.Fraction"
        | "functools.partial"
        | "uuid.UUID" => object(callable),
        // A bound method, as `fuse()` leaves one in `forward`: its instance is data, so the attribute is.
        "builtins.getattr" | "__builtin__.getattr"
            if args.first().is_some_and(|id| matches!(arena.get(*id), Value::Object(_))) =>
        {
            object(callable)
        }
        // (class, base, state) is how protocols 0 and 1 write an instance, (class, arguments) how copyreg does.
        "copyreg._reconstructor" | "copy_reg._reconstructor" | "copyreg.__newobj__" | "copy_reg.__newobj__" => {
            match args.first() {
                Some(class) => instance(arena, *class)?,
                None => return invalid("an instance without its class"),
            }
        }
        _ => return Err(Refusal::Called(name.clone())),
    }))
}

/// A function that builds a tensor from a storage, and nothing that could nest.
fn is_rebuild(arena: &Arena, function: Id) -> bool {
    matches!(arena.get(function), Value::Global(name) if name.starts_with("torch._utils._rebuild_") || name == NESTED)
}

/// An instance of `class` that is built and not called.
pub(super) fn instance(arena: &Arena, class: Id) -> Result<Value> {
    let Value::Global(name) = arena.get(class) else { return invalid("an instance of something that is no class") };
    Ok(match name.as_str() {
        "collections.OrderedDict" | "collections.defaultdict" | "collections.Counter" => Value::Dict(Vec::new()),
        _ => object(class),
    })
}

fn object(class: Id) -> Value {
    Value::Object(Box::new(Object { class, state: None, items: Vec::new() }))
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

/// `(storage, offset, size, stride, …)`, with the dtype apart where the storage is untyped; `flags` is a dict of what the
/// values are to be changed by when they are used.
fn tensor(arena: &Arena, args: &[Id], dtype: Option<&Id>, flags: Option<&Id>) -> Result<Value> {
    let sizes = |i: usize| -> Option<Vec<usize>> {
        let sizes = arena.sequence(*args.get(i)?)?;
        sizes.iter().take(MAX_RANK + 1).map(|id| arena.usize(*id)).collect()
    };
    let (Some(storage), Some(offset), Some(shape), Some(stride)) =
        (args.first().copied(), args.get(1).and_then(|id| arena.usize(*id)), sizes(2), sizes(3))
    else {
        return invalid("a tensor without its storage, offset, size or stride");
    };
    let Value::Storage(stored) = arena.get(storage) else { return invalid("a tensor without its storage") };
    let named = dtype.and_then(|id| match arena.get(*id) {
        Value::Global(dtype) => dtype.rsplit('.').next(),
        _ => None,
    });
    let Some(element) = named.map_or(stored.element, Element::from_name) else {
        let dtype = named.unwrap_or(stored.dtype());
        return Ok(Value::Unread(format!("is of type {dtype}, which is not read; save its {}", as_float(dtype))));
    };
    let is_set = |flag: &str| flags.and_then(|id| arena.field(*id, flag)).map(|id| arena.get(id));
    if ["neg", "conj"].iter().any(|flag| matches!(is_set(flag), Some(Value::Bool(true)))) {
        return Ok(Value::Unread("is a view that negates what it shows; save its resolve_neg()".to_owned()));
    }
    if shape.len() != stride.len() || shape.len() > MAX_RANK {
        return invalid(format!("a tensor of size {shape:?} with strides {stride:?}"));
    }
    Ok(Value::Tensor(Box::new(TensorRef { storage, element, offset, shape, stride })))
}

/// What makes a tensor of floats from one of this type.
fn as_float(dtype: &str) -> &'static str {
    if dtype.starts_with("complex") { "real" } else { "float()" }
}
