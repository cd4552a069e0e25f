//! How single values are read from TOML and from environment variables.

use super::errors::Wrong;
use super::reader::Leaf;
use crate::domain::account::OrderSide;
use crate::domain::market::Interval;
use crate::domain::symbol::Product;
use rust_decimal::Decimal;
use std::path::PathBuf;
use toml::de::DeValue;

/// What a number counts, from the end of its setting's name.
fn unit(path: &str) -> &'static str {
    const UNITS: [(&str, &str); 6] = [
        ("_ms", " of milliseconds"),
        ("_hours", " of hours"),
        ("_mib", " of MiB"),
        ("_bytes", " of bytes"),
        ("_per_minute", " per minute"),
        ("_fraction", ", as a fraction: 0.01 is one percent"),
    ];
    UNITS.iter().find(|(suffix, _)| path.ends_with(suffix)).map_or("", |(_, unit)| unit)
}

fn wrong_type(path: &str, found: &DeValue<'_>, wanted: &str) -> Wrong {
    let kind = match found {
        DeValue::String(_) => "text",
        other => other.type_str(),
    };
    Wrong::new(format!("is {wanted}, but a {kind} stands here"), remedy(path, found, wanted))
}

/// Names the number that `5s` or `"500"` was meant to be; never repeats other texts, which may be secrets.
fn remedy(path: &str, found: &DeValue<'_>, wanted: &str) -> String {
    if let DeValue::String(text) = found {
        if let Some(ms) = path.ends_with("_ms").then(|| duration_ms(text)).flatten() {
            return format!("write {ms}, without quotes and unit");
        }
        if text.len() <= 16 && text.parse::<f64>().is_ok_and(f64::is_finite) && wanted.contains("number") {
            return format!("write {text}, without quotes");
        }
        if wanted.contains("true or false") && matches!(text.as_ref(), "true" | "false") {
            return format!("write {text}, without quotes");
        }
    }
    format!("write {wanted}")
}

fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" | "msec" => 1,
        "s" | "sec" | "secs" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

macro_rules! whole_numbers {
    ($($ty:ty),+) => { $(
        impl Leaf for $ty {
            fn wanted(path: &str) -> String {
                format!("a whole number{}", unit(path))
            }

            fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
                let DeValue::Integer(number) = value else { return Err(wrong_type(path, value, &Self::wanted(path))) };
                Self::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
                    Wrong::new("is out of range", format!("write a value from {} to {}", Self::MIN, Self::MAX))
                })
            }

            fn parse_text(text: &str, path: &str) -> Result<Self, Wrong> {
                text.trim().parse().map_err(|_| {
                    let wanted = Self::wanted(path);
                    Wrong::new(format!("is {wanted}"), remedy(path, &DeValue::String(text.into()), &wanted))
                })
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}
whole_numbers!(u8, u16, u32, u64, usize);

impl Leaf for bool {
    fn wanted(_: &str) -> String {
        "true or false".to_owned()
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        value.as_bool().ok_or_else(|| wrong_type(path, value, &Self::wanted(path)))
    }

    fn parse_text(text: &str, path: &str) -> Result<Self, Wrong> {
        let wanted = Self::wanted(path);
        text.trim().parse().map_err(|_| Wrong::new(format!("is {wanted}"), format!("write {wanted}")))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Money and sizes: exactly the digits that were written.
impl Leaf for Decimal {
    fn wanted(path: &str) -> String {
        format!("a number{}", unit(path))
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        let text = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(wrong_type(path, value, &Self::wanted(path))),
        };
        Self::parse_text(text, path)
    }

    fn parse_text(text: &str, path: &str) -> Result<Self, Wrong> {
        let text = text.trim();
        text.parse().or_else(|_| Self::from_scientific(text)).map_err(|_| {
            let wanted = Self::wanted(path);
            Wrong::new(
                format!("is {wanted}, finite and of at most 28 digits"),
                remedy(path, &DeValue::String(text.into()), &wanted),
            )
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for f64 {
    fn wanted(path: &str) -> String {
        format!("a number{}", unit(path))
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        match value {
            DeValue::Integer(number) if number.radix() == 10 => Self::parse_text(number.as_str(), path),
            DeValue::Float(number) => Self::parse_text(number.as_str(), path),
            _ => Err(wrong_type(path, value, &Self::wanted(path))),
        }
    }

    fn parse_text(text: &str, path: &str) -> Result<Self, Wrong> {
        text.trim().parse().ok().filter(|number: &Self| number.is_finite()).ok_or_else(|| {
            let wanted = Self::wanted(path);
            Wrong::new(format!("is {wanted}, and finite"), remedy(path, &DeValue::String(text.into()), &wanted))
        })
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Leaf for String {
    fn wanted(_: &str) -> String {
        "a text in quotes".to_owned()
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong_type(path, value, &Self::wanted(path)))
    }

    fn parse_text(text: &str, _path: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

/// Texts that may be absent; absent is written as "".
trait OptionalText: Sized {
    fn of(text: String) -> Self;
    fn text(&self) -> String;
}

impl OptionalText for String {
    fn of(text: String) -> Self {
        text
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl OptionalText for PathBuf {
    fn of(text: String) -> Self {
        text.into()
    }

    fn text(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl<T: OptionalText> Leaf for Option<T> {
    fn wanted(path: &str) -> String {
        String::wanted(path)
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        String::parse(value, path).map(|text| (!text.is_empty()).then(|| T::of(text)))
    }

    fn parse_text(text: &str, _path: &str) -> Result<Self, Wrong> {
        Ok((!text.is_empty()).then(|| T::of(text.to_owned())))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, OptionalText::text).show()
    }
}

/// A value that is one of a few words.
pub(super) trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// What may stand in a list.
pub(super) trait Item: Leaf {}
impl Item for String {}
impl Item for Interval {}

impl<T: Item> Leaf for Vec<T> {
    fn wanted(path: &str) -> String {
        format!("a list in brackets, each entry {}", T::wanted(path))
    }

    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong> {
        let Some(array) = value.as_array() else { return Err(wrong_type(path, value, &Self::wanted(path))) };
        array.iter().map(|item| T::parse(item.as_ref(), path)).collect()
    }

    fn parse_text(_text: &str, _path: &str) -> Result<Self, Wrong> {
        Err(Wrong::new("is a list, which an environment variable cannot hold", "set it in the file"))
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(Leaf::show).collect();
        format!("[{}]", items.join(", "))
    }
}

macro_rules! words {
    ($($ty:ty { $($word:literal => $value:expr),+ $(,)? })+) => { $(
        impl $crate::config::leaf::Word for $ty {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }

        impl $crate::config::reader::Leaf for $ty {
            fn wanted(_: &str) -> String {
                $crate::config::leaf::one_of::<Self>()
            }

            fn parse(value: &::toml::de::DeValue<'_>, path: &str) -> Result<Self, $crate::config::errors::Wrong> {
                String::parse(value, path).and_then(|text| Self::parse_text(&text, path))
            }

            fn parse_text(text: &str, _path: &str) -> Result<Self, $crate::config::errors::Wrong> {
                $crate::config::leaf::parse_word(text)
            }

            fn show(&self) -> String {
                use $crate::config::leaf::Word;
                let word = Self::WORDS.iter().find(|(_, value)| value == self).map_or("", |(word, _)| *word);
                format!("\"{word}\"")
            }
        }
    )+ };
}
pub(super) use words;

pub(super) fn one_of<T: Word>() -> String {
    let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

pub(super) fn parse_word<T: Word>(text: &str) -> Result<T, Wrong> {
    let known = T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    known.ok_or_else(|| {
        let remedy = match super::suggest::nearest(text, T::WORDS.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean \"{near}\"? It is {}", one_of::<T>()),
            None => format!("write {}", one_of::<T>()),
        };
        Wrong::new("is not a word known here", remedy)
    })
}

words! {
    Interval { "1m" => Interval::M1, "5m" => Interval::M5, "15m" => Interval::M15, "1h" => Interval::H1 }
    Product {
        "usdt-futures" => Product::UsdtFutures,
        "usdc-futures" => Product::UsdcFutures,
        "coin-futures" => Product::CoinFutures,
    }
    Option<OrderSide> { "any" => None, "buy" => Some(OrderSide::Buy), "sell" => Some(OrderSide::Sell) }
}
