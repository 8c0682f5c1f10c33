//! The opcodes that push a number, a string or a constant.

use std::num::IntErrorKind;

use super::machine::Machine;
use super::refusal::{Result, invalid};
use super::value::Value;

impl Machine<'_> {
    /// Numbers, strings and constants.
    pub(super) fn literal(&mut self, opcode: u8) -> Result<bool> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.take(1)?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'I' | b'L' => match self.line()? {
                "00" if opcode == b'I' => Value::Bool(false),
                "01" if opcode == b'I' => Value::Bool(true),
                line => match line.trim_end_matches('L').parse::<i64>() {
                    Ok(int) => Value::Int(int),
                    Err(error) if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
                        Value::BigInt
                    }
                    Err(_) => return invalid(format!("`{line}` is not an integer")),
                },
            },
            0x8a | 0x8b => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let bytes = self.take(length)?;
                integer(bytes)
            }
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            b'F' => match self.line()?.parse() {
                Ok(float) => Value::Float(float),
                Err(_) => return invalid("a float that is not a number"),
            },
            0x8c | b'X' | 0x8d => {
                let length = self.length(match opcode {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                })?;
                self.text(length)?
            }
            b'V' | b'S' => {
                let line = self.line()?;
                self.arena.budget.afford(line.len())?;
                Value::Str(if opcode == b'V' { line } else { line.trim_matches(['\'', '"']) }.to_owned())
            }
            b'U' | b'T' => {
                let length = self.length(if opcode == b'U' { 1 } else { 4 })?;
                self.text(length)?
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = self.length(match opcode {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                })?;
                let bytes = self.take(length)?;
                self.arena.budget.afford(length)?;
                Value::Bytes(bytes.to_vec())
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        self.arena.budget.afford(length)?;
        Ok(Value::Str(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // Python escapes lone surrogates in a way that is not UTF-8; names of tensors never hold any.
            Err(_) => {
                // Three bytes in the place of one, while the text grows by doubling.
                self.arena.budget.afford(length.saturating_mul(9))?;
                String::from_utf8_lossy(bytes).into_owned()
            }
        }))
    }
}

/// A little-endian two's complement integer.
fn integer(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::BigInt;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}
