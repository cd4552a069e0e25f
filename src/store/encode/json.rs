//! JSON in a fixed order with money as exact JSON numbers: the same value gives the same bytes.

use crate::store::resp::Number;
use rust_decimal::Decimal;

/// An object under construction.
pub struct Object {
    text: String,
}

impl Default for Object {
    fn default() -> Self {
        Self { text: String::from("{") }
    }
}

/// Appends `text` as a JSON string.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A finite float in plain notation with at most eight decimals; `null` for what is no number.
pub fn float(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    let text = format!("{value:.8}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl Object {
    pub fn new() -> Self {
        Self::default()
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_quoted(&mut self.text, name);
        self.text.push(':');
    }

    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        push_quoted(&mut self.text, value);
        self
    }

    #[must_use]
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    #[must_use]
    pub fn int(self, name: &str, value: i64) -> Self {
        self.raw(name, &value.to_string())
    }

    #[must_use]
    pub fn decimal(mut self, name: &str, value: Decimal) -> Self {
        self.name(name);
        self.text.extend(Number::decimal(value).as_bytes().iter().map(|&b| b as char));
        self
    }

    /// `null` for what is not known.
    #[must_use]
    pub fn decimal_or_null(self, name: &str, value: Option<Decimal>) -> Self {
        match value {
            Some(value) => self.decimal(name, value),
            None => self.null(name),
        }
    }

    #[must_use]
    pub fn float(self, name: &str, value: f64) -> Self {
        self.raw(name, &float(value))
    }

    #[must_use]
    pub fn null(self, name: &str) -> Self {
        self.raw(name, "null")
    }

    /// `value` is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.text.push_str(value);
        self
    }

    pub fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_fixed_and_valid() {
        let text = Object::new()
            .text("a", "q\"\\\n\u{1}ä")
            .decimal("p", Decimal::new(6_400_010, 2))
            .float("f", 0.1 + 0.2)
            .float("z", -0.0)
            .float("nan", f64::NAN)
            .null("n")
            .bool("b", true)
            .end();
        assert_eq!(text, r#"{"a":"q\"\\\n\u0001ä","p":64000.10,"f":0.3,"z":0,"nan":null,"n":null,"b":true}"#);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
