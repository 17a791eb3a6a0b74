//! Numbers and texts as the server reads them. The tests read with `serde_json`, which does the arithmetic that Qdrant does.

use super::Text;
use super::number::{write_f32, write_f64};
use proptest::prelude::*;

fn f64_text(value: f64) -> (String, bool) {
    let mut out = Vec::new();
    let exact = write_f64(value, &mut out);
    (String::from_utf8(out).unwrap(), exact)
}

fn f32_text(value: f32) -> String {
    let mut out = Vec::new();
    assert!(write_f32(value, &mut out));
    String::from_utf8(out).unwrap()
}

/// As a vector is read: JSON, f64, f32.
fn read_f32(text: &str) -> f32 {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(value).unwrap()
}

#[test]
fn usual_numbers_are_written_as_people_write_them() {
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-12.34, "-12.34"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
        (7_661_654_521_623_130.0, "7661654521623130.0"),
        (f64::MAX, "1.7976931348623157e308"),
    ] {
        assert_eq!(f64_text(value), (text.to_owned(), true));
        let read: f64 = serde_json::from_str(text).unwrap();
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
    }
}

/// Its digits with the zero behind the point are too many for an f64, those without are not.
#[test]
fn a_point_and_a_zero_can_be_too_much() {
    let (text, exact) = f64_text(7_661_654_521_623_129.0);
    assert_eq!((text.as_str(), exact), ("7661654521623129e0", true));
    let read: f64 = serde_json::from_str(&text).unwrap();
    assert_eq!(read.to_bits(), 7_661_654_521_623_129.0f64.to_bits());
}

#[test]
fn a_number_whose_shortest_text_is_misread_is_written_otherwise() {
    let value = 238.499_172_839_031_9_f64;
    let misread = (1..2_000u64)
        .map(|n| f64::from_bits(value.to_bits() + n))
        .filter(|v| serde_json::from_str::<f64>(&format!("{v:?}")).unwrap() != *v);
    let misread: Vec<f64> = misread.collect();
    assert!(misread.len() > 50, "{}", misread.len());
    let (all, mut lost) = (misread.len(), 0);
    for value in misread {
        let (text, exact) = f64_text(value);
        let read: f64 = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_bits() == value.to_bits(), exact, "{text}");
        lost += usize::from(!exact);
    }
    // Here are more that have no text than elsewhere.
    assert!(lost * 4 < all, "{lost} of {all}");
}

#[test]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what an exact reader would do"
)]
fn numbers_of_vectors_at_the_edges() {
    let tie = f32::from_bits(0x15ae_43fd);
    assert_eq!(format!("{tie:?}"), "7.038531e-26");
    assert_eq!(
        "7.038531e-26".parse::<f64>().unwrap() as f32,
        f32::from_bits(0x15ae_43fe)
    );
    for value in [
        tie,
        -tie,
        f32::MIN_POSITIVE,
        f32::MAX,
        1e-45,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ] {
        let text = f32_text(value);
        assert_eq!(read_f32(&text).to_bits(), value.to_bits(), "{text}");
    }
    let mut out = Vec::new();
    assert!(!write_f32(f32::NAN, &mut out));
    assert_eq!(out, b"null");
}

proptest! {
    #[test]
    fn every_f64_that_came_by_json_is_read_back(digits in any::<u64>(), less in 0u32..64, exponent in -340i32..288) {
        let value: f64 = serde_json::from_str(&format!("{}e{exponent}", digits >> less)).unwrap();
        let (text, exact) = f64_text(value);
        prop_assert!(exact);
        let read: f64 = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.to_bits(), value.to_bits(), "{}", text);
    }

    #[test]
    fn what_is_called_exact_is_read_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let (text, exact) = f64_text(value);
        let read: f64 = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.to_bits() == bits, exact);
        prop_assert!((read - value).abs() <= value.abs() * 1e-15);
    }

    #[test]
    fn every_f32_is_read_back(bits: u32) {
        let value = f32::from_bits(bits);
        if value.is_nan() {
            return Ok(());
        }
        prop_assert_eq!(read_f32(&f32_text(value)).to_bits(), bits);
    }

    #[test]
    fn every_text_is_read_back(string: String) {
        let mut text = Text::default();
        text.string(&string);
        let read: String = serde_json::from_slice(&text.bytes).unwrap();
        prop_assert_eq!(read, string);
    }
}
