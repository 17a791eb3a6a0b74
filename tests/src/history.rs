//! Random operations of every kind that the REST interface has, from a seed.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers are smaller than what they are drawn from"
)]

use serde_json::{Map, Value, json};

/// Operations from a seed.
#[derive(Debug)]
pub struct Dice {
    state: u64,
    /// Whether the collection has the named vector that comes and goes.
    later: bool,
}

/// A request to a collection: method, path behind `/collections/<name>/`, body (null for none).
pub type Call = (&'static str, String, Value);

impl Dice {
    /// The same seed gives the same operations.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            later: false,
        }
    }

    /// A number from 0 to `n` − 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// With every bit.
    fn number(&mut self) -> f64 {
        let bits = self.below(1 << 32) as u32;
        let more = self.below(1 << 21) as u32;
        (f64::from(bits) + f64::from(more) / 2_097_152.0) / f64::from(1u32 << 24) - 100.0
    }

    fn numbers(&mut self, len: usize) -> Value {
        (0..len).map(|_| self.number()).collect()
    }

    fn id(&mut self) -> Value {
        let number = self.below(90);
        if number.is_multiple_of(3) {
            return json!(format!("{number:08x}-0000-4000-8000-{:012x}", number * 7));
        }
        let large = number.is_multiple_of(10);
        json!(if large { u64::MAX - number } else { number })
    }

    fn ids(&mut self, most: u64) -> Vec<Value> {
        (0..=self.below(most)).map(|_| self.id()).collect()
    }

    fn value(&mut self) -> Value {
        match self.below(9) {
            0 => json!(u64::MAX - self.below(9)),
            1 => json!(i64::MIN),
            2 => json!(self.number()),
            3 => json!(self.number() * 1e-30),
            4 => json!(["x", 1, null, {"b": self.below(5)}]),
            5 => json!({"b": {"c": self.below(9)}, "": "\"\\\u{1}\u{1f600}"}),
            6 => Value::Null,
            7 => json!(1.0),
            _ => json!("word ".repeat(self.below(4) as usize)),
        }
    }

    fn payload(&mut self) -> Value {
        let mut payload = Map::new();
        for key in [
            "group", "n", "tags", "words", "when", "place", "flag", "a", "list",
        ] {
            if self.below(3) == 0 {
                continue;
            }
            let value = match key {
                "group" => json!(self.below(6)),
                "n" => json!(self.number()),
                "tags" => json!([self.one_of(&["red", "blue"]), self.one_of(&["x", "y", "z"])]),
                "words" => {
                    json!(self.one_of(&["the quick fox", "a lazy dog", "Quick, said the dog"]))
                }
                "when" => json!(format!("2026-0{}-11T10:15:30Z", 1 + self.below(9))),
                "place" => json!({"lon": self.number() / 2.0, "lat": self.number() / 4.0}),
                "flag" => json!(self.below(2) == 0),
                "list" => json!([{"k": self.below(3), "v": self.below(3)}, {"k": self.below(3)}]),
                _ => self.value(),
            };
            payload.insert(key.to_owned(), value);
        }
        Value::Object(payload)
    }

    fn condition(&mut self) -> Value {
        match self.below(15) {
            0 => json!({"key": "group", "match": {"value": self.below(6)}}),
            1 => json!({"key": "n", "range": {"gte": self.number(), "lt": self.number() + 60.0}}),
            2 => json!({"has_id": self.ids(20)}),
            3 => json!({"is_empty": {"key": "words"}}),
            4 => json!({"is_null": {"key": "a"}}),
            5 => json!({"nested": {"key": "list", "filter": {"must": [
                {"key": "k", "match": {"value": self.below(3)}}, {"key": "v", "match": {"except": [1]}}]}}}),
            6 => json!({"key": "tags", "match": {"any": ["red", "z"]}}),
            7 => json!({"key": "tags", "values_count": {"gt": 1}}),
            8 => {
                json!({"key": "when", "range": {"lt": format!("2026-0{}-01T00:00:00Z", 1 + self.below(9))}})
            }
            9 => {
                json!({"key": "place", "geo_radius": {"center": {"lon": 5.5, "lat": 1.25}, "radius": self.number().abs() * 40_000.0}})
            }
            10 => {
                json!({"key": "place", "geo_bounding_box": {"top_left": {"lon": -20.0, "lat": 20.5}, "bottom_right": {"lon": 30.0, "lat": -10.0}}})
            }
            11 => json!({"key": "words", "match": {"text": "quick"}}),
            12 => json!({"key": "flag", "match": {"value": true}}),
            13 => json!({"has_vector": "s"}),
            _ => json!({"key": "a.b", "is_empty": false}),
        }
    }

    fn filter(&mut self) -> Value {
        let (one, two) = (self.condition(), self.condition());
        match self.below(6) {
            0 => json!({"must": [one, two]}),
            1 => json!({"should": [one, two]}),
            2 => json!({"must_not": [one], "must": [{"should": [two]}]}),
            3 => json!({"min_should": {"conditions": [one, two], "min_count": 1}}),
            _ => json!({"must": one}),
        }
    }

    fn sparse(&mut self) -> Value {
        let first = self.below(1000);
        json!({"indices": [first + 5, first], "values": [self.number(), self.number()]})
    }

    /// Some of the named vectors, or the one without a name.
    fn vector(&mut self, named: bool) -> Value {
        if !named {
            return self.numbers(4);
        }
        let mut vectors = Map::new();
        for name in ["d", "c", "m", "s", "later"] {
            let never = name == "later" && !self.later;
            if never || self.below(3) == 0 {
                continue;
            }
            let vector = match name {
                "d" => self.numbers(4),
                "c" => self.numbers(3),
                "m" => (0..=self.below(3)).map(|_| self.numbers(2)).collect(),
                "s" => self.sparse(),
                _ => self.numbers(2),
            };
            vectors.insert(name.to_owned(), vector);
        }
        Value::Object(vectors)
    }

    fn points(&mut self, named: bool) -> Value {
        if named && self.below(12) == 0 {
            // Refused, with nothing written. Of several points some would be, in an order that the server draws.
            return json!([{"id": self.id(), "vector": {"unknown": [1.0]}}]);
        }
        let ids = self.ids(9);
        let point = |id| match self.below(8) {
            0 => json!({"id": id, "vector": self.vector(named)}),
            _ => json!({"id": id, "vector": self.vector(named), "payload": self.payload()}),
        };
        ids.into_iter().map(point).collect()
    }

    /// Points by columns.
    fn batch(&mut self, named: bool) -> Value {
        let ids = self.ids(6);
        let vectors: Vec<_> = ids.iter().map(|_| self.numbers(4)).collect();
        let payloads: Vec<_> = ids.iter().map(|_| self.payload()).collect();
        if named {
            let sparse: Vec<_> = ids.iter().map(|_| self.sparse()).collect();
            return json!({"ids": ids, "vectors": {"d": vectors, "s": sparse}, "payloads": payloads});
        }
        json!({"ids": ids, "vectors": vectors})
    }

    /// Ids or a filter, as a field of a body.
    fn selection(&mut self, body: Value) -> Value {
        let mut body = body;
        match self.below(5) {
            0 | 1 => body["filter"] = self.filter(),
            2 => body["points"] = json!(self.ids(70)),
            _ => body["points"] = json!(self.ids(4)),
        }
        body
    }

    fn upsert(&mut self, named: bool) -> Value {
        let mut body = match self.below(4) {
            0 => json!({"batch": self.batch(named)}),
            _ => json!({"points": self.points(named)}),
        };
        if self.below(4) == 0 {
            body["update_filter"] = self.filter();
        }
        if self.below(6) == 0 {
            body["update_mode"] = json!(self.one_of(&["upsert", "insert_only", "update_only"]));
        }
        body
    }

    fn vectors_update(&mut self, named: bool) -> Value {
        let ids = self.ids(3);
        let point = |id| json!({"id": id, "vector": self.vector(named)});
        let points: Vec<_> = ids.into_iter().map(point).collect();
        let mut body = json!({ "points": points });
        if self.below(3) == 0 {
            body["update_filter"] = self.filter();
        }
        body
    }

    fn payload_set(&mut self, key: bool) -> Value {
        let mut body = json!({"payload": self.payload()});
        if key && self.below(3) == 0 {
            body["key"] =
                json!(self.one_of(&["a", "a.b", "list[0]", "list[].k", "new.\"odd key\""]));
        }
        self.selection(body)
    }

    fn keys(&mut self) -> Value {
        let keys = [
            self.one_of(&["group", "a.b", "n"]),
            self.one_of(&["list[0].k", "tags[]", "words"]),
        ];
        self.selection(json!({ "keys": keys }))
    }

    fn vectors_gone(&mut self) -> Value {
        let names = [self.one_of(&["d", "s"]), self.one_of(&["c", "m"])];
        self.selection(json!({ "vector": names }))
    }

    /// Several operations in one request.
    fn several(&mut self, named: bool) -> Value {
        let mut operations = vec![
            json!({"upsert": self.upsert(named)}),
            json!({"set_payload": self.payload_set(true)}),
            json!({"overwrite_payload": self.payload_set(false)}),
            json!({"delete_payload": self.keys()}),
            json!({"update_vectors": self.vectors_update(named)}),
            json!({"delete": {"points": self.ids(2)}}),
        ];
        operations.rotate_left(self.below(6) as usize);
        operations.truncate(4);
        json!({ "operations": operations })
    }

    fn index(&mut self) -> Call {
        let (field, schema) = match self.below(10) {
            0 => ("group", json!("integer")),
            1 => (
                "group",
                json!({"type": "integer", "lookup": true, "range": false}),
            ),
            2 => ("n", json!({"type": "float", "on_disk": true})),
            3 => (
                "words",
                json!({"type": "text", "tokenizer": "word", "min_token_len": 2, "lowercase": true,
                "stopwords": {"languages": ["english"], "custom": ["said"]}, "stemmer": {"type": "snowball", "language": "english"}}),
            ),
            4 => ("tags", json!({"type": "keyword", "is_tenant": true})),
            5 => ("when", json!("datetime")),
            6 => ("place", json!("geo")),
            7 => ("flag", json!("bool")),
            8 => ("list[].k", json!("integer")),
            _ => ("odd.\"k/e y\"", json!("keyword")),
        };
        if self.below(3) == 0 {
            let field = field
                .replace('"', "%22")
                .replace('/', "%2F")
                .replace(' ', "%20");
            let field = field.replace('[', "%5B").replace(']', "%5D");
            return ("DELETE", format!("index/{field}"), Value::Null);
        }
        (
            "PUT",
            "index".to_owned(),
            json!({"field_name": field, "field_schema": schema}),
        )
    }

    fn vector_name(&mut self) -> Call {
        let config = match self.below(2) {
            0 => json!({"dense": {"size": 2, "distance": "Euclid"}}),
            _ => json!({"dense": {"size": 2, "distance": "Dot", "datatype": "float16"}}),
        };
        self.later = self.below(2) == 0;
        match self.later {
            false => ("DELETE", "vectors/later".to_owned(), Value::Null),
            true => ("PUT", "vectors/later".to_owned(), config),
        }
    }

    /// An operation on a collection with named vectors, or on one with a single one. The first turns are of different kinds.
    pub fn operation(&mut self, named: bool, turn: u64) -> Call {
        let kind = if turn < 30 { turn } else { self.below(30) };
        let (method, path, body) = match kind {
            0 => ("POST", "points/delete", json!({"points": self.ids(5)})),
            1 => {
                let conditions = [self.condition(), self.condition()];
                let filter = json!({ "must": conditions });
                ("POST", "points/delete", json!({ "filter": filter }))
            }
            2..=4 => ("POST", "points/payload", self.payload_set(true)),
            5 => ("PUT", "points/payload", self.payload_set(false)),
            6 | 7 => ("POST", "points/payload/delete", self.keys()),
            8 => (
                "POST",
                "points/payload/clear",
                json!({"points": self.ids(40)}),
            ),
            9 => (
                "POST",
                "points/payload/clear",
                json!({"filter": self.filter()}),
            ),
            10..=12 => ("PUT", "points/vectors", self.vectors_update(named)),
            13 if named => ("POST", "points/vectors/delete", self.vectors_gone()),
            14 | 15 => return self.index(),
            16 if named => return self.vector_name(),
            17 | 18 => ("POST", "points/batch", self.several(named)),
            _ => ("PUT", "points", self.upsert(named)),
        };
        (method, path.to_owned(), body)
    }
}
