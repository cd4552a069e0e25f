//! The shape of a JSON text: every number as 0 (codes stay), of every list of rows the first one, all else as it
//! stands.

/// Reads the text as it is written, so that the order of fields is kept.
pub fn shape(text: &str) -> String {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut out = String::new();
    reader.value("", Some(&mut out));
    assert_eq!(reader.at, text.len(), "something after the end of {text}");
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        *self.bytes.get(self.at).expect("more text")
    }

    fn take(&mut self) -> char {
        let byte = self.peek();
        self.at += 1;
        char::from(byte)
    }

    /// One value, written to `out` if that is wanted.
    fn value(&mut self, key: &str, mut out: Option<&mut String>) {
        let put = |out: &mut Option<&mut String>, text: &str| {
            if let Some(out) = out {
                out.push_str(text);
            }
        };
        match self.peek() {
            open @ (b'{' | b'[') => {
                let close = if open == b'{' { b'}' } else { b']' };
                let _ = self.take();
                put(&mut out, if open == b'{' { "{" } else { "[" });
                let mut number = 0;
                while self.peek() != close {
                    if number > 0 {
                        assert_eq!(self.take(), ',');
                    }
                    // Rows and levels are alike; the cells of one row are not.
                    let wanted = open == b'{' || number == 0 || !b"{[".contains(&self.peek());
                    let mut name = String::new();
                    if open == b'{' {
                        name = self.string();
                        assert_eq!(self.take(), ':');
                        put(&mut out, &format!("{}\"{name}\":", if number > 0 { "," } else { "" }));
                    }
                    if open == b'[' && wanted && number > 0 {
                        put(&mut out, ",");
                    }
                    self.value(&name, if wanted { out.as_deref_mut() } else { None });
                    number += 1;
                }
                let _ = self.take();
                put(&mut out, if open == b'{' { "}" } else { "]" });
            }
            b'"' => {
                let text = self.string();
                let numeric = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
                let shown = match (key, text.as_str()) {
                    ("connId", _) => "id",
                    ("code", code) => code,
                    // Whatever the market did last.
                    (_, "sell") => "buy",
                    (_, _) if numeric => "0",
                    (_, text) => text,
                };
                put(&mut out, &format!("\"{shown}\""));
            }
            _ => {
                let begin = self.at;
                while self.at < self.bytes.len() && !b",]}".contains(&self.bytes[self.at]) {
                    self.at += 1;
                }
                let text = std::str::from_utf8(&self.bytes[begin..self.at]).expect("text");
                put(&mut out, if text.parse::<f64>().is_ok() && key != "code" { "0" } else { text });
            }
        }
    }

    fn string(&mut self) -> String {
        assert_eq!(self.take(), '"');
        let begin = self.at;
        while self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        let text = std::str::from_utf8(&self.bytes[begin..self.at]).expect("text").to_owned();
        self.at += 1;
        text
    }
}

#[test]
fn shapes() {
    for (text, expected) in [
        (r#"{"b":"-1.5","a":[1,2],"c":[]}"#, r#"{"b":"0","a":[0,0],"c":[]}"#),
        (r#"{"a":[["1","2"],["3","4"]],"code":30001}"#, r#"{"a":[["0","0"]],"code":30001}"#),
        (r#"{"x":"","y":null,"z":true,"s":"a\"b"}"#, r#"{"x":"","y":null,"z":true,"s":"a\"b"}"#),
        (r#"[{"p":"1"},{"q":[[1]]}]"#, r#"[{"p":"0"}]"#),
    ] {
        assert_eq!(shape(text), expected);
    }
}
