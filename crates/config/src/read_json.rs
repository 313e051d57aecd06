//! JSON text to a [`Node`] tree.
//!
//! `serde_json` checks the text and reads numbers and strings; it does not tell where a key stands, nor that one stands
//! twice, so a small walk over the already checked text finds that out.

use crate::node::{Entry, Node, Origin, Value};
use crate::read_toml::{SyntaxFault, beyond_64_bits};

/// The document's top object, with entries in the order of the text.
pub(crate) fn document(text: &str) -> Result<Node, SyntaxFault> {
    // Also bounds the depth of nesting, on which the walk below relies.
    let checked: Result<serde_json::Value, _> = serde_json::from_str(text);
    if let Err(error) = checked {
        let reason = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        return Err(SyntaxFault {
            offset: offset(text, error.line(), error.column()),
            reason: format!("not JSON: {}", reason.trim_end_matches(&place)),
        });
    }
    let mut walk = Walk { text, at: 0 };
    let node = walk.value()?;
    match node.value {
        Value::Table(_) => Ok(node),
        _ => Err(SyntaxFault {
            offset: text.len() - text.trim_start().len(),
            reason: format!("expected an object, found {node}"),
        }),
    }
}

/// Byte offset of a line (from 1) and column (in bytes, from 1; 0 is the end of the line before).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (start + column.saturating_sub(1)).min(text.len())
}

struct Walk<'t> {
    text: &'t str,
    /// Bytes that are behind.
    at: usize,
}

impl Walk<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Skips blanks, commas and colons; the text is known to have them only where they belong.
    fn skip(&mut self) {
        let skipped = self
            .rest()
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':'))
            .count();
        self.at += skipped;
    }

    fn fault(&self, offset: usize, reason: String) -> SyntaxFault {
        SyntaxFault { offset, reason }
    }

    fn value(&mut self) -> Result<Node, SyntaxFault> {
        self.skip();
        let start = self.at;
        let value = match self.rest().first() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => Value::String(self.string()?),
            _ => self.word()?,
        };
        Ok(Node {
            origin: Origin::file(start),
            value,
        })
    }

    fn object(&mut self) -> Result<Value, SyntaxFault> {
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            self.skip();
            if self.rest().first() != Some(&b'"') {
                self.at += 1;
                return Ok(Value::Table(entries));
            }
            let start = self.at;
            let key = self.string()?;
            if entries.iter().any(|entry| entry.key == key) {
                return Err(self.fault(start, format!("key {key:?} is given twice")));
            }
            let node = self.value()?;
            entries.push(Entry {
                key,
                origin: Origin::file(start),
                node,
            });
        }
    }

    fn array(&mut self) -> Result<Value, SyntaxFault> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip();
            if matches!(self.rest().first(), Some(b']') | None) {
                self.at += 1;
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
        }
    }

    fn string(&mut self) -> Result<String, SyntaxFault> {
        let start = self.at;
        let mut escaped = false;
        let inner = self.rest()[1..]
            .iter()
            .take_while(|byte| {
                let ends = **byte == b'"' && !escaped;
                escaped = **byte == b'\\' && !escaped;
                !ends
            })
            .count();
        self.at += inner + 2;
        serde_json::from_str(&self.text[start..self.at])
            .map_err(|error| self.fault(start, format!("not JSON: {error}")))
    }

    fn word(&mut self) -> Result<Value, SyntaxFault> {
        let start = self.at;
        let length = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        self.at += length;
        let word = &self.text[start..self.at];
        let not_a_number = |_| self.fault(start, format!("{word} is not a number"));
        Ok(match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ if word.contains(['.', 'e', 'E']) => {
                Value::Float(word.parse().map_err(not_a_number)?)
            }
            _ => Value::Integer(
                word.parse()
                    .map_err(|_| self.fault(start, beyond_64_bits(word)))?,
            ),
        })
    }
}
