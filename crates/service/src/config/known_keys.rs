//! Which keys a configuration type knows, so that a misspelt one can be answered with the right one.
//!
//! Derived `Deserialize` implementations announce their field names. The probe below walks a type along
//! the path to the unknown key, and stops at the struct that should have known it. It reads no value,
//! and it sees no fields behind `#[serde(flatten)]`.

use serde::de::value::Error as ProbeError;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;

/// The dotted path with its last segment replaced by the most similar known key, if one is similar.
pub(super) fn nearest_key<T: DeserializeOwned>(path: &[String]) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let known = Cell::new(&[] as &'static [&'static str]);
    // Always an error: a probe never completes a value.
    let _stopped = T::deserialize(Probe {
        path: parents,
        known: &known,
    });
    let best = known
        .get()
        .iter()
        .map(|key| (distance(key, last), *key))
        .min()?;
    if best.0 > last.len().max(best.1.len()).div_ceil(3) {
        return None;
    }
    let mut full: Vec<&str> = parents.iter().map(String::as_str).collect();
    full.push(best.1);
    Some(full.join("."))
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [String],
    known: &'a Cell<&'static [&'static str]>,
}

/// Offers one key or element, then the probe behind it.
struct Step<'a> {
    key: Option<&'a str>,
    next: Probe<'a>,
}

fn stop<T>() -> Result<T, ProbeError> {
    Err(ProbeError::custom("the probe has no value"))
}

impl<'a> Probe<'a> {
    fn step(self) -> Option<Step<'a>> {
        let (key, path) = self.path.split_first()?;
        Some(Step {
            key: Some(key),
            next: Probe {
                path,
                known: self.known,
            },
        })
    }
}

impl<'de> serde::Deserializer<'de> for Probe<'_> {
    type Error = ProbeError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ProbeError> {
        match self.step() {
            Some(step) => visitor.visit_map(step),
            None => {
                self.known.set(fields);
                stop()
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        self.step()
            .map_or_else(stop, |step| visitor.visit_map(step))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        self.step()
            .map_or_else(stop, |step| visitor.visit_seq(step))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ProbeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ProbeError> {
        stop()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Step<'_> {
    type Error = ProbeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ProbeError> {
        self.key
            .take()
            .map(|key| seed.deserialize(serde::de::value::StrDeserializer::new(key)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ProbeError> {
        seed.deserialize(self.next)
    }
}

impl<'de> SeqAccess<'de> for Step<'_> {
    type Error = ProbeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ProbeError> {
        self.key
            .take()
            .map(|_index| seed.deserialize(self.next))
            .transpose()
    }
}
