//! As much of CBOR (RFC 8949) as it takes to walk over an operation without building it: nothing is allocated, depth is bounded.
//! Text and bytes that come in parts are passed over but not read: Qdrant's writer makes none.

/// Nesting beyond which bytes are not followed. Payloads are JSON, which Qdrant itself bounds at 128.
const MAX_DEPTH: u32 = 256;

/// A place in CBOR bytes. Every method answers `None` where the bytes are not what was asked for; the place is then of no
/// further use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
}

/// The beginning of an item. Tags are passed over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    Unsigned(u64),
    /// −1 − value.
    Negative(u64),
    /// `None`: of unknown length, in parts.
    Bytes(Option<u64>),
    Text(Option<u64>),
    Array(Option<u64>),
    Map(Option<u64>),
    /// True, false, null; with the simple value.
    Simple(u64),
    Float(f64),
    Break,
}

/// One item, read as far as its beginning; what is in a container follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Unsigned(u64),
    /// −1 − value.
    Negative(u64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array(Items),
    Map(Items),
    Bool(bool),
    Null,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads one item, or the beginning of a container.
    pub(crate) fn item(&mut self) -> Option<Item<'a>> {
        Some(match self.head()? {
            Head::Unsigned(value) => Item::Unsigned(value),
            Head::Negative(value) => Item::Negative(value),
            Head::Float(value) => Item::Float(value),
            Head::Text(Some(len)) => Item::Text(std::str::from_utf8(self.take(len)?).ok()?),
            Head::Bytes(Some(len)) => Item::Bytes(self.take(len)?),
            Head::Array(len) => Item::Array(Items(len)),
            Head::Map(len) => Item::Map(Items(len)),
            Head::Simple(20) => Item::Bool(false),
            Head::Simple(21) => Item::Bool(true),
            // Undefined is read as null, as Qdrant does.
            Head::Simple(22 | 23) => Item::Null,
            Head::Simple(_) | Head::Text(None) | Head::Bytes(None) | Head::Break => return None,
        })
    }

    /// Begins a map; the answer counts its pairs.
    pub(crate) fn map(&mut self) -> Option<Items> {
        let Item::Map(pairs) = self.item()? else {
            return None;
        };
        Some(pairs)
    }

    /// Begins an array.
    pub(crate) fn array(&mut self) -> Option<Items> {
        let Item::Array(items) = self.item()? else {
            return None;
        };
        Some(items)
    }

    /// A text in one part.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let Item::Text(text) = self.item()? else {
            return None;
        };
        Some(text)
    }

    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let Item::Unsigned(value) = self.item()? else {
            return None;
        };
        Some(value)
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        let Item::Bool(value) = self.item()? else {
            return None;
        };
        Some(value)
    }

    /// The bytes of the next item, whole.
    pub(crate) fn raw(&mut self) -> Option<&'a [u8]> {
        let begin = self.rest;
        self.skip()?;
        begin.get(..begin.len() - self.rest.len())
    }

    /// Passes over an array and counts its items; `None` for anything else.
    pub(crate) fn array_len(&mut self) -> Option<u64> {
        let mut items = self.array()?;
        let mut count = 0;
        while items.next(self)? {
            self.skip()?;
            count += 1;
        }
        Some(count)
    }

    /// Whether null comes next.
    pub(crate) fn is_null(&self) -> bool {
        self.rest.first() == Some(&0xf6)
    }

    /// Passes over one item.
    pub(crate) fn skip(&mut self) -> Option<()> {
        self.skip_within(MAX_DEPTH)
    }

    fn skip_within(&mut self, depth: u32) -> Option<()> {
        let inner = depth.checked_sub(1)?;
        match self.head()? {
            Head::Unsigned(_) | Head::Negative(_) | Head::Simple(_) | Head::Float(_) => Some(()),
            Head::Bytes(Some(len)) | Head::Text(Some(len)) => self.take(len).map(drop),
            Head::Bytes(None) | Head::Text(None) => {
                let mut parts = Items(None);
                while parts.next(self)? {
                    self.skip_within(inner)?;
                }
                Some(())
            }
            Head::Array(len) => {
                let mut items = Items(len);
                while items.next(self)? {
                    self.skip_within(inner)?;
                }
                Some(())
            }
            Head::Map(len) => {
                let mut pairs = Items(len);
                while pairs.next(self)? {
                    self.skip_within(inner)?;
                    self.skip_within(inner)?;
                }
                Some(())
            }
            Head::Break => None,
        }
    }

    fn head(&mut self) -> Option<Head> {
        loop {
            let [first] = *self.take(1)?.first_chunk()?;
            let (major, info) = (first >> 5, first & 31);
            let value = match info {
                0..=23 => Some(u64::from(info)),
                24 => Some(u64::from(self.take(1)?[0])),
                25 => Some(u64::from(u16::from_be_bytes(
                    self.take(2)?.try_into().ok()?,
                ))),
                26 => Some(u64::from(u32::from_be_bytes(
                    self.take(4)?.try_into().ok()?,
                ))),
                27 => Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?)),
                31 => None,
                _ => return None,
            };
            return Some(match (major, value) {
                (0, Some(value)) => Head::Unsigned(value),
                (1, Some(value)) => Head::Negative(value),
                (2, len) => Head::Bytes(len),
                (3, len) => Head::Text(len),
                (4, len) => Head::Array(len),
                (5, len) => Head::Map(len),
                (6, Some(_)) => continue,
                (7, Some(bits)) => match info {
                    25 => Head::Float(half(u16::try_from(bits).ok()?)),
                    26 => Head::Float(f32::from_bits(u32::try_from(bits).ok()?).into()),
                    27 => Head::Float(f64::from_bits(bits)),
                    _ => Head::Simple(bits),
                },
                (7, None) => Head::Break,
                _ => return None,
            });
        }
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(head)
    }
}

/// How many items of a container are left; without a number they end with a break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items(Option<u64>);

impl Items {
    /// Whether another item (of a map: pair) follows; `None` if the bytes end.
    pub(crate) fn next(&mut self, walk: &mut Walk<'_>) -> Option<bool> {
        match &mut self.0 {
            Some(0) => Some(false),
            Some(left) => {
                *left -= 1;
                Some(true)
            }
            None if *walk.rest.first()? == 0xff => {
                walk.take(1)?;
                Some(false)
            }
            None => Some(true),
        }
    }
}

/// The number that an IEEE 754 half means.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}
