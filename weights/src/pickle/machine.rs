//! A pickle machine that builds data and calls nothing.
//!
//! Protocols 0 to 5 (Python's `pickletools` documents the opcodes). Every value lives once in an [`Arena`]. Memory is
//! bounded: values, the stack, the marks and the memo pay for their room out of the file's [`Budget`] before they take it,
//! and a copy of what a memo holds is paid for once more.

use super::reduce;
use super::refusal::{Refusal, Result, invalid};
use super::value::{Arena, Element, Id, Memo, Storage, Value};
use crate::budget::Budget;

/// Most opcodes of one pickle. A checkpoint of YOLOv8x with its average has some 50,000.
const MAX_OPCODES: usize = 4_000_000;
/// Longest name of a global or a storage, in bytes.
const MAX_NAME: usize = 512;
/// Bytes that a memo takes at most, while its table grows.
const MEMO: usize = 32;

/// Reads one pickle from the start of `input`: the arena, with what is left of `budget`; the root; and the bytes used.
pub(crate) fn unpickle(input: &[u8], budget: Budget) -> Result<(Arena, Id, usize)> {
    let mut machine = Machine {
        input,
        at: 0,
        arena: Arena::new(input.len(), budget),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::new(),
    };
    match machine.run() {
        Ok(root) => Ok((machine.arena, root, machine.at)),
        Err(Refusal::Invalid { reason, .. }) => Err(Refusal::Invalid { offset: machine.at, reason }),
        Err(refusal) => Err(refusal),
    }
}

pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    pub(super) arena: Arena,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: Memo,
}

impl<'a> Machine<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.at.checked_add(count).and_then(|end| self.input.get(self.at..end)) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => {
                let left = self.input.len() - self.at;
                Err(Refusal::Incomplete(format!("{count} bytes are announced and {left} are left")))
            }
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn length(&mut self, bytes: usize) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        match usize::try_from(u64::from_le_bytes(wide)) {
            Ok(length) => Ok(length),
            Err(_) => invalid("a length beyond the address space"),
        }
    }

    pub(super) fn line(&mut self) -> Result<&'a str> {
        let rest = &self.input[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(Refusal::Incomplete("a line without its end".to_owned()));
        };
        self.at += end + 1;
        match std::str::from_utf8(&rest[..end]) {
            Ok(line) => Ok(line.trim_end_matches('\r')),
            Err(_) => invalid("a line that is not UTF-8"),
        }
    }

    pub(super) fn push(&mut self, value: Value) -> Result<()> {
        let id = self.arena.push(value)?;
        self.put(id)
    }

    /// Puts a value on the stack that is there already.
    fn put(&mut self, id: Id) -> Result<()> {
        self.arena.budget.reserve(&mut self.stack, 1)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return invalid("it takes from an empty stack");
        }
        self.stack.pop().map_or_else(|| invalid("it takes from an empty stack"), Ok)
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().map_or_else(|| invalid("it reads an empty stack"), Ok)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => {
                self.arena.budget.afford((self.stack.len() - height) * size_of::<Id>())?;
                Ok(self.stack.split_off(height))
            }
            _ => invalid("a mark is missing"),
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        if items.len() % 2 == 1 {
            return invalid("a key without its value");
        }
        self.arena.budget.afford(2 * size_of_val(items))?;
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn run(&mut self) -> Result<Id> {
        for _ in 0..MAX_OPCODES {
            let opcode = self.take(1)?[0];
            match opcode {
                b'.' => return self.pop(),
                0x80 => {
                    let protocol = self.take(1)?[0];
                    if protocol > 5 {
                        return invalid(format!("protocol {protocol} is not known"));
                    }
                }
                0x95 => {
                    self.take(8)?;
                }
                b'(' => {
                    self.arena.budget.reserve(&mut self.marks, 1)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    if self.marks.last() == Some(&self.stack.len()) {
                        self.marks.pop();
                    } else {
                        self.pop()?;
                    }
                }
                b'1' => {
                    self.pop_mark()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.put(top)?;
                }
                _ if self.literal(opcode)?
                    || self.container(opcode)?
                    || self.memoized(opcode)?
                    || self.object(opcode)? => {}
                _ => return invalid(format!("opcode {opcode:#04x} is not known")),
            }
        }
        invalid(format!("more than {MAX_OPCODES} opcodes"))
    }

    /// Lists, tuples, sets and dicts.
    fn container(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b']' => self.push(Value::List(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            0x8f => self.push(Value::Set(Vec::new()))?,
            b'l' | b't' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(match opcode {
                    b'l' => Value::List(items),
                    b't' => Value::Tuple(items),
                    _ => Value::Set(items),
                })?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Value::Dict(pairs))?;
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[(key, value)])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(&items)?;
                self.set_items(&pairs)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extend(&mut self, added: &[Id]) -> Result<()> {
        let target = self.top()?;
        let (target, budget) = self.arena.get_mut(target);
        match target {
            Value::List(items) | Value::Set(items) => {
                budget.reserve(items, added.len())?;
                items.extend_from_slice(added);
            }
            // A subclass of list: no weights are looked for in one.
            Value::Object(_) => {}
            _ => return invalid("it appends to something that is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, added: &[(Id, Id)]) -> Result<()> {
        let target = self.top()?;
        let (target, budget) = self.arena.get_mut(target);
        let pairs = match target {
            Value::Dict(pairs) => pairs,
            Value::Object(object) => &mut object.items,
            _ => return invalid("it sets an item of something that is no dict"),
        };
        budget.reserve(pairs, added.len())?;
        pairs.extend_from_slice(added);
        Ok(())
    }

    fn memoized(&mut self, opcode: u8) -> Result<bool> {
        let number = |line: &str| match line.parse::<u32>() {
            Ok(number) => Ok(number),
            Err(_) => invalid(format!("`{line}` is no memo number")),
        };
        match opcode {
            b'p' | b'q' | b'r' | 0x94 => {
                let key = match opcode {
                    b'p' => number(self.line()?)?,
                    b'q' => self.take(1)?[0].into(),
                    b'r' => u32::from_le_bytes(self.array()?),
                    _ => self.memo.len() as u32,
                };
                let top = self.top()?;
                if !self.memo.contains_key(&key) {
                    self.arena.budget.charge(MEMO)?;
                }
                self.memo.insert(key, top);
            }
            b'g' | b'h' | b'j' => {
                let key = match opcode {
                    b'g' => number(self.line()?)?,
                    b'h' => self.take(1)?[0].into(),
                    _ => u32::from_le_bytes(self.array()?),
                };
                let Some(id) = self.memo.get(&key).copied() else {
                    return invalid(format!("memo {key} was never stored"));
                };
                self.put(id)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Globals, instances, calls and persistent ids.
    fn object(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| self.arena.str(id).filter(|text| text.len() <= MAX_NAME);
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return invalid("a global whose name is no string, or too long a one");
                };
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(&module, &name)?;
            }
            b'R' => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let id = reduce::call(&mut self.arena, callable, args)?;
                self.put(id)?;
            }
            0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?;
                }
                let (_args, class) = (self.pop()?, self.pop()?);
                let value = reduce::instance(&self.arena, class)?;
                self.push(value)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let (Value::Object(object), _) = self.arena.get_mut(target) {
                    object.state = Some(state);
                }
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(Refusal::Called(format!("{module}.{name}")));
            }
            b'o' => {
                let items = self.pop_mark()?;
                let class = items.first().map_or(&Value::None, |id| self.arena.get(*id));
                return Err(Refusal::Called(if let Value::Global(name) = class {
                    name.clone()
                } else {
                    "?".to_owned()
                }));
            }
            b'Q' => {
                let id = self.pop()?;
                match self.module_class(id) {
                    Some(class) => self.put(class)?,
                    None => {
                        let storage = self.storage(id)?;
                        self.arena.charge(storage.key.len() + storage.class.len())?;
                        self.push(Value::Storage(Box::new(storage)))?;
                    }
                }
            }
            b'P' => return invalid("a persistent id in text form, which PyTorch never writes"),
            0x82..=0x84 => return invalid("an extension code, whose meaning is private to its writer"),
            0x97 | 0x98 => return invalid("an out-of-band buffer, which this file does not hold"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        if module.len() + name.len() > MAX_NAME {
            return invalid("a global with too long a name");
        }
        self.arena.charge(module.len() + name.len())?;
        self.push(Value::Global(format!("{module}.{name}")))
    }

    /// `("module", class, file, source)`: how the plain container writes a class of modules.
    fn module_class(&self, id: Id) -> Option<Id> {
        match self.arena.sequence(id)? {
            [tag, class, ..] if self.arena.str(*tag) == Some("module") => Some(*class),
            _ => None,
        }
    }

    /// `("storage", class, key, device, elements[, (view key, offset, elements)])`.
    fn storage(&self, id: Id) -> Result<Storage> {
        let arena = &self.arena;
        let parts = arena.sequence(id).unwrap_or_default();
        let (Some("storage"), Some(Value::Global(class)), Some(key)) = (
            parts.first().and_then(|id| arena.str(*id)),
            parts.get(1).map(|id| arena.get(*id)),
            parts.get(2).and_then(|id| arena.str(*id)).filter(|key| key.len() <= MAX_NAME),
        ) else {
            return invalid("a persistent id that is no storage of PyTorch");
        };
        let class = class.rsplit('.').next().unwrap_or(class);
        let view = parts.get(5).and_then(|id| arena.sequence(*id));
        let view_offset = view.and_then(|view| view.get(1)).and_then(|id| arena.usize(*id)).unwrap_or(0);
        let element = Element::from_name(class);
        Ok(Storage { key: key.to_owned(), class: class.to_owned(), element, view_offset })
    }
}
