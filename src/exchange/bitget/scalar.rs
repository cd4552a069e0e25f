//! Scalars as Bitget sends them: a number is a string, sometimes a number, and `""` when there is none.

use crate::domain::refusal::Refusal;
use rust_decimal::Decimal;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

/// The end of what a time may be, in ms: the year 2100. A time beyond it is a broken field, not a late message.
const TIME_END_MS: i64 = 4_102_444_800_000;
/// Larger prices, sizes and amounts do not exist.
const AMOUNT_MAX: i128 = 1_000_000_000_000_000_000;

/// A field that should be a number, not yet read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Missing, `null` or `""`.
    #[default]
    Absent,
    Text(&'a str),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl<'a> Scalar<'a> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// `Ok(None)` where the exchange says nothing; what is no number is `BadField`, what is no amount `OutOfRange`.
    pub(super) fn decimal(&self) -> Result<Option<Decimal>, Refusal> {
        match *self {
            Self::Absent => Ok(None),
            Self::Text(text) => decimal(text).map(Some),
            Self::Unsigned(n) if n <= AMOUNT_MAX as u64 => Ok(Some(Decimal::from(n))),
            Self::Signed(n) if i128::from(n).abs() <= AMOUNT_MAX => Ok(Some(Decimal::from(n))),
            Self::Unsigned(_) | Self::Signed(_) => Err(Refusal::OutOfRange),
            Self::Float(x) => bounded(Decimal::try_from(x).map_err(|_| Refusal::OutOfRange)?).map(Some),
        }
    }

    /// A time in ms; 0 counts as absent (delivery dates of perpetuals).
    pub(super) fn millis(&self) -> Result<Option<i64>, Refusal> {
        let ms = match *self {
            Self::Absent => return Ok(None),
            Self::Text(text) => {
                if text.is_empty() || text.len() > 19 || !text.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(if text.starts_with('-') { Refusal::OutOfRange } else { Refusal::BadField });
                }
                text.parse::<i64>().map_err(|_| Refusal::OutOfRange)?
            }
            Self::Unsigned(n) => i64::try_from(n).map_err(|_| Refusal::OutOfRange)?,
            Self::Signed(_) | Self::Float(_) => return Err(Refusal::OutOfRange),
        };
        match ms {
            0 => Ok(None),
            ms if ms < TIME_END_MS => Ok(Some(ms)),
            _ => Err(Refusal::OutOfRange),
        }
    }

    /// An identity: the number where it is one, else a hash of its text.
    pub(super) fn id(&self) -> Option<u64> {
        match *self {
            Self::Absent | Self::Float(_) => None,
            Self::Unsigned(n) => Some(n),
            Self::Signed(n) => Some(n as u64),
            Self::Text(text) => Some(text.parse().unwrap_or_else(|_| {
                let mut hasher = rustc_hash::FxHasher::default();
                hasher.write(text.as_bytes());
                hasher.finish()
            })),
        }
    }
}

fn bounded(value: Decimal) -> Result<Decimal, Refusal> {
    if value.abs() > Decimal::from_i128_with_scale(AMOUNT_MAX, 0) { Err(Refusal::OutOfRange) } else { Ok(value) }
}

/// Reads a decimal; digits with at most one point take the short way.
pub(super) fn decimal(text: &str) -> Result<Decimal, Refusal> {
    match plain(text.as_bytes()) {
        Some(value) => Ok(value),
        None => unusual(text),
    }
}

/// `[-]digits[.digits]` of at most 18 digits, which is everything a healthy exchange sends.
fn plain(bytes: &[u8]) -> Option<Decimal> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut point = None;
    for (at, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() && at > 0 {
            point = Some(at + 1);
        } else {
            return None;
        }
    }
    let scale = match point {
        Some(at) if at == digits.len() => return None,
        Some(at) => digits.len() - at,
        None if digits.len() > 18 => return None,
        None => 0,
    };
    Some(Decimal::from_parts(mantissa as u32, (mantissa >> 32) as u32, 0, negative && mantissa != 0, scale as u32))
}

/// More digits than an exact sum needs (float noise), or an exponent.
#[cold]
fn unusual(text: &str) -> Result<Decimal, Refusal> {
    let shaped = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'))
        && text.bytes().any(|b| b.is_ascii_digit());
    if !shaped {
        return Err(Refusal::BadField);
    }
    let value = if text.bytes().any(|b| matches!(b, b'e' | b'E')) {
        Decimal::from_scientific(text)
    } else {
        Decimal::from_str(text)
    };
    match value {
        Ok(value) => bounded(value),
        Err(rust_decimal::Error::ErrorString(_)) if !text.bytes().all(|b| b.is_ascii_digit()) => Err(Refusal::BadField),
        Err(_) => Err(Refusal::OutOfRange),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(if text.is_empty() { Scalar::Absent } else { Scalar::Text(text) })
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Unsigned(n))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Signed(n))
            }
            fn visit_f64<E: de::Error>(self, x: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(x))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A name or an id: borrowed unless it was written with escapes (symbols need not be ASCII) or as a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl Name<'_> {
    /// `None` for a missing or empty name.
    pub(super) fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(n.to_string())))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(n.to_string())))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Name::default())
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling_of_a_number_and_nothing_else() {
        let cases: &[(&str, Result<&str, Refusal>)] = &[
            ("0", Ok("0")),
            ("-0", Ok("0")),
            ("64001.5", Ok("64001.5")),
            ("-5.88", Ok("-5.88")),
            ("0.000000000000000001", Ok("0.000000000000000001")),
            ("999999999999999999", Ok("999999999999999999")),
            ("1000000000000000000", Ok("1000000000000000000")),
            ("1000000000000000001", Err(Refusal::OutOfRange)),
            ("1e-7", Ok("0.0000001")),
            ("12345.678900000000123456789", Ok("12345.678900000000123456789")),
            ("0.1234567890123456789012345678901234567890", Ok("0.1234567890123456789012345679")),
            ("99999999999999999999999999999999999999", Err(Refusal::OutOfRange)),
            ("1e30", Err(Refusal::OutOfRange)),
            ("", Err(Refusal::BadField)),
            ("-", Err(Refusal::BadField)),
            (".", Err(Refusal::BadField)),
            ("1.", Ok("1")),
            ("1..2", Err(Refusal::BadField)),
            ("1_000", Err(Refusal::BadField)),
            ("NaN", Err(Refusal::BadField)),
            ("inf", Err(Refusal::BadField)),
            ("12a", Err(Refusal::BadField)),
            ("0x10", Err(Refusal::BadField)),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|text| text.parse::<Decimal>().unwrap());
            assert_eq!(decimal(text), expected, "case: {text}");
        }
    }

    #[test]
    fn the_short_way_agrees_with_the_library() {
        proptest::proptest!(|(whole in 0_u64..1_000_000_000, fraction in "[0-9]{0,9}", negative: bool)| {
            let sign = if negative { "-" } else { "" };
            let text = if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
            let short = plain(text.as_bytes());
            proptest::prop_assert_eq!(short, Some(text.parse::<Decimal>().unwrap()));
        });
    }

    #[test]
    fn scalars_are_strings_numbers_or_absent() {
        let cases = [
            (r#""20""#, Ok(Some(20))),
            ("20", Ok(Some(20))),
            ("-20", Ok(Some(-20))),
            ("20.0", Ok(Some(20))),
            (r#""""#, Ok(None)),
            ("null", Ok(None)),
            ("18446744073709551615", Err(Refusal::OutOfRange)),
        ];
        for (json, expected) in cases {
            let scalar: Scalar<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(scalar.decimal(), expected.map(|n| n.map(Decimal::from)), "case: {json}");
        }
        for json in ["true", "[1]", "{}", r#""\u0031""#] {
            assert!(serde_json::from_str::<Scalar<'_>>(json).is_err(), "case: {json}");
        }
    }

    #[test]
    fn times_end_with_the_century() {
        let cases = [
            (r#""1741850543864""#, Ok(Some(1_741_850_543_864))),
            ("1741850543864", Ok(Some(1_741_850_543_864))),
            (r#""0""#, Ok(None)),
            ("4102444799999", Ok(Some(4_102_444_799_999))),
            ("4102444800000", Err(Refusal::OutOfRange)),
            ("-1", Err(Refusal::OutOfRange)),
            (r#""-1""#, Err(Refusal::OutOfRange)),
            (r#""12.5""#, Err(Refusal::BadField)),
            (r#""soon""#, Err(Refusal::BadField)),
        ];
        for (json, expected) in cases {
            let scalar: Scalar<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(scalar.millis(), expected, "case: {json}");
        }
    }
}
