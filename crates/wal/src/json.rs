//! JSON from an entry's CBOR. Numbers are written so that the server reads the same number; see [`number`].

pub(crate) mod number;

use crate::cbor::{Item, Walk};
use crate::change::{Json, PointId};
use std::io::Write as _;

/// JSON that is being written.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// Numbers for which there is no text from which the server would read them.
    pub(crate) inexact: u64,
}

impl Text {
    /// What is JSON already.
    pub(crate) fn push(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }

    /// A comma if something came before.
    pub(crate) fn comma(&mut self, at: usize) {
        if at > 0 {
            self.bytes.push(b',');
        }
    }

    /// A value that has been found sound.
    pub(crate) fn json(&mut self, json: Json<'_>) {
        let mut walk = json.walk();
        let begin = self.bytes.len();
        if self.value(&mut walk).is_none() {
            debug_assert!(false, "an unsound value was kept");
            self.bytes.truncate(begin);
            self.push("null");
        }
    }

    pub(crate) fn id(&mut self, id: PointId) {
        match id {
            PointId::Number(number) => self.display(number),
            PointId::Uuid(_) => {
                self.bytes.push(b'"');
                self.display(id);
                self.bytes.push(b'"');
            }
        }
    }

    pub(crate) fn ids(&mut self, ids: &[PointId]) {
        self.list(ids, |text, id| text.id(*id));
    }

    pub(crate) fn texts(&mut self, texts: &[&str]) {
        self.list(texts, |text, string| text.string(string));
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.bytes.push(b'[');
        for (at, item) in items.iter().enumerate() {
            self.comma(at);
            write(self, item);
        }
        self.bytes.push(b']');
    }

    pub(crate) fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to memory does not fail.
        let _ = write!(self.bytes, "{value}");
    }

    pub(crate) fn string(&mut self, string: &str) {
        self.bytes.push(b'"');
        let mut plain = 0;
        for (at, byte) in string.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.push(&string[plain..at]);
            plain = at + 1;
            if byte < 0x20 {
                let _ = write!(self.bytes, "\\u{byte:04x}");
            } else {
                self.bytes.extend([b'\\', byte]);
            }
        }
        self.push(&string[plain..]);
        self.bytes.push(b'"');
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.inexact += u64::from(!number::write_f64(value, &mut self.bytes));
    }

    fn value(&mut self, walk: &mut Walk<'_>) -> Option<()> {
        match walk.item()? {
            Item::Unsigned(value) => self.display(value),
            Item::Negative(value) => self.display(-1 - i128::from(value)),
            Item::Float(value) => self.f64(value),
            Item::Text(value) => self.string(value),
            Item::Bytes(value) => self.id(PointId::Uuid(value.try_into().ok()?)),
            Item::Bool(value) => self.display(value),
            Item::Null => self.push("null"),
            Item::Array(mut items) => {
                self.bytes.push(b'[');
                let mut at = 0;
                while items.next(walk)? {
                    self.comma(at);
                    self.value(walk)?;
                    at += 1;
                }
                self.bytes.push(b']');
            }
            Item::Map(mut pairs) => {
                self.bytes.push(b'{');
                let mut at = 0;
                while pairs.next(walk)? {
                    self.comma(at);
                    self.string(walk.text()?);
                    self.bytes.push(b':');
                    self.value(walk)?;
                    at += 1;
                }
                self.bytes.push(b'}');
            }
        }
        Some(())
    }
}

/// A value as people read it.
pub(crate) fn text(json: Json<'_>) -> String {
    let mut text = Text::default();
    text.json(json);
    String::from_utf8_lossy(&text.bytes).into_owned()
}

#[cfg(test)]
mod tests;
