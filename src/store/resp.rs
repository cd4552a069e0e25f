//! Commands as bytes: an own RESP2 encoder over one reused buffer.
//!
//! The state path writes numbers straight into the buffer; it allocates nothing once the buffer has grown.

use super::tag::Tag;
use rust_decimal::Decimal;

const PAIRS: &[u8; 200] =
    b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/// Decimal digits of `value`, right-aligned in `scratch`; returns where they begin.
fn digits(mut value: u64, scratch: &mut [u8; 40]) -> usize {
    let mut at = scratch.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        scratch[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        scratch[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        scratch[at] = b'0' + value as u8;
    }
    at
}

/// The digits of a mantissa wider than 64 bits; rare, a price that needs it has 20 significant digits.
fn wide_digits(mut value: u128, scratch: &mut [u8; 40]) -> usize {
    let mut at = scratch.len();
    loop {
        at -= 1;
        scratch[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// Text of one value, built without the heap.
pub struct Number {
    text: [u8; 48],
    len: usize,
}

impl Number {
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    pub fn unsigned(value: u64) -> Self {
        let mut scratch = [0; 40];
        let at = digits(value, &mut scratch);
        Self::joined(false, &scratch[at..])
    }

    pub fn signed(value: i64) -> Self {
        let mut scratch = [0; 40];
        let at = digits(value.unsigned_abs(), &mut scratch);
        Self::joined(value < 0, &scratch[at..])
    }

    fn joined(negative: bool, digits: &[u8]) -> Self {
        let mut number = Self { text: [0; 48], len: 0 };
        if negative {
            number.push(b"-");
        }
        number.push(digits);
        number
    }

    fn push(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Plain decimal text, no exponent, with the scale the exchange wrote (`64000.10` stays `64000.10`).
    pub fn decimal(value: Decimal) -> Self {
        let mut scratch = [0; 40];
        let mantissa = value.mantissa().unsigned_abs();
        let at = match u64::try_from(mantissa) {
            Ok(small) => digits(small, &mut scratch),
            Err(_) => wide_digits(mantissa, &mut scratch),
        };
        let digits = &scratch[at..];
        let scale = value.scale() as usize;
        let mut number = Self { text: [0; 48], len: 0 };
        if value.is_sign_negative() && mantissa != 0 {
            number.push(b"-");
        }
        if scale == 0 {
            number.push(digits);
        } else if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            number.push(whole);
            number.push(b".");
            number.push(fraction);
        } else {
            number.push(b"0.");
            for _ in digits.len()..scale {
                number.push(b"0");
            }
            number.push(digits);
        }
        number
    }
}

/// Tells values apart within one process.
pub(super) fn fingerprint(value: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(value);
    hasher.finish()
}

/// The same for several values, of which each may be missing.
pub(super) fn fingerprint_all(values: &[Option<&[u8]>]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    for value in values {
        hasher.write_usize(value.map_or(usize::MAX, <[u8]>::len));
        hasher.write(value.unwrap_or_default());
    }
    hasher.finish()
}

/// The arguments of one encoded command.
fn words_of(command: &[u8]) -> Vec<&[u8]> {
    let line_end = |at: usize| command.get(at..)?.windows(2).position(|w| w == b"\r\n").map(|n| at + n);
    let mut words = Vec::new();
    let Some(mut at) = line_end(0).map(|end| end + 2) else { return words };
    while let Some(end) = line_end(at) {
        let length =
            std::str::from_utf8(&command[at..end]).ok().and_then(|t| t.strip_prefix('$')?.parse::<usize>().ok());
        let Some(word) = length.and_then(|length| command.get(end + 2..end + 2 + length)) else { return words };
        words.push(word);
        at = end + 2 + word.len() + 2;
    }
    words
}

/// Encoded commands with what each of them is for.
#[derive(Debug, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    tags: Vec<Tag>,
    /// One number per command that comes back with its reply, e.g. a sequence.
    marks: Vec<u64>,
    /// Commands with these tags are left out: their keys are quarantined.
    blocked: Vec<Tag>,
    /// Where the last command begins, if it has to be left out.
    cut: Option<usize>,
}

impl Commands {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a command of `args` arguments, its name included.
    pub fn begin(&mut self, tag: Tag, args: usize) {
        self.settle();
        if !self.blocked.is_empty() && self.blocked.contains(&tag.key()) {
            self.cut = Some(self.bytes.len());
        }
        self.tags.push(tag);
        self.marks.push(0);
        self.header(b'*', args);
    }

    /// Gives the last command a number that comes back with its reply.
    pub fn mark(&mut self, mark: u64) {
        if let Some(last) = self.marks.last_mut() {
            *last = mark;
        }
    }

    /// Leaves out the last command if its key is quarantined. Called before the bytes are used.
    pub fn settle(&mut self) {
        if let Some(at) = self.cut.take() {
            self.bytes.truncate(at);
            self.tags.pop();
            self.marks.pop();
        }
    }

    pub fn set_blocked(&mut self, tag: Tag, blocked: bool) {
        self.blocked.retain(|&t| t != tag.key());
        if blocked {
            self.blocked.push(tag.key());
        }
    }

    pub fn blocked(&self) -> &[Tag] {
        &self.blocked
    }

    pub fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    fn header(&mut self, kind: u8, count: usize) {
        self.bytes.push(kind);
        let mut scratch = [0; 40];
        let at = digits(count as u64, &mut scratch);
        self.bytes.extend_from_slice(&scratch[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn arg(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.header(b'$', value.len());
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Bytes that are already RESP.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
    }

    pub fn decimal(&mut self, value: Decimal) {
        self.arg(Number::decimal(value).as_bytes());
    }

    /// An empty argument for what is not known.
    pub fn decimal_or_empty(&mut self, value: Option<Decimal>) {
        match value {
            Some(value) => self.decimal(value),
            None => self.arg(b""),
        }
    }

    pub fn int(&mut self, value: i64) {
        self.arg(Number::signed(value).as_bytes());
    }

    pub fn count(&mut self, value: u64) {
        self.arg(Number::unsigned(value).as_bytes());
    }

    /// A whole command from its words.
    pub fn words(&mut self, tag: Tag, words: &[&str]) {
        self.begin(tag, words.len());
        for word in words {
            self.arg(word);
        }
    }

    /// A string that is replaced as a whole. The reply is what stood there before, and an error if that was no string:
    /// a plain SET would replace another program's value, of any type, without a word. The mark that comes back is the
    /// new value's fingerprint.
    pub fn set(&mut self, tag: Tag, key: &str, value: impl AsRef<[u8]>, expiry_s: Option<i64>) {
        self.begin(tag, if expiry_s.is_some() { 6 } else { 4 });
        self.mark(fingerprint(value.as_ref()));
        self.arg("SET");
        self.arg(key);
        self.arg(value);
        if let Some(seconds) = expiry_s {
            self.arg("EX");
            self.int(seconds);
        }
        self.arg("GET");
    }

    /// Marks the last command, an HSET that begins at byte `from`, with the fingerprint of these of its fields.
    pub fn mark_fields(&mut self, from: usize, fields: &[&str]) {
        let words = words_of(self.bytes.get(from..).unwrap_or_default());
        let value = |name: &str| {
            let pairs = words.get(2..).unwrap_or_default().chunks_exact(2);
            pairs.into_iter().find(|pair| pair[0] == name.as_bytes()).map(|pair| pair[1])
        };
        let values: Vec<_> = fields.iter().map(|name| value(name)).collect();
        self.mark(fingerprint_all(&values));
    }

    pub fn len(&self) -> usize {
        self.tags.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Moves the commands of `other` behind these.
    pub fn take_from(&mut self, other: &mut Self) {
        self.settle();
        other.settle();
        self.bytes.append(&mut other.bytes);
        self.tags.append(&mut other.tags);
        self.marks.append(&mut other.marks);
    }

    /// Changes places with an empty buffer; the quarantine stays.
    pub fn trade(&mut self, empty: &mut Self) {
        self.settle();
        std::mem::swap(&mut self.bytes, &mut empty.bytes);
        std::mem::swap(&mut self.tags, &mut empty.tags);
        std::mem::swap(&mut self.marks, &mut empty.marks);
    }

    pub fn marks(&self) -> &[u64] {
        &self.marks
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.tags.clear();
        self.marks.clear();
        self.cut = None;
    }
}

/// The commands as words, for golden tests and for people.
#[cfg(test)]
pub(crate) fn as_words(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut rest = bytes;
    let mut line = || {
        let end = rest.windows(2).position(|w| w == b"\r\n").expect("a line");
        let (head, tail) = rest.split_at(end);
        rest = &tail[2..];
        String::from_utf8(head.to_vec()).expect("text")
    };
    let mut commands = Vec::new();
    let mut left = bytes.len();
    while left > 0 {
        let header = line();
        left -= header.len() + 2;
        let count: usize = header.strip_prefix('*').expect("an array").parse().expect("a count");
        let mut words = Vec::new();
        for _ in 0..count {
            let length = line();
            let word = line();
            assert_eq!(length, format!("${}", word.len()), "length of {word}");
            left -= length.len() + word.len() + 4;
            words.push(word);
        }
        commands.push(words);
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::str::FromStr;

    #[test]
    fn numbers_keep_the_exchanges_spelling() {
        for text in
            ["0", "0.00", "64000.10", "-0.5", "0.00000001", "79228162514264337593543950335", "-12.30", "100", "99", "7"]
        {
            let value = Decimal::from_str(text).unwrap();
            assert_eq!(Number::decimal(value).as_bytes(), text.as_bytes(), "case: {text}");
        }
    }

    proptest! {
        #[test]
        fn any_decimal_is_written_as_its_display(lo: u32, mid: u32, hi: u32, negative: bool, scale in 0u32..=28) {
            let value = Decimal::from_parts(lo, mid, hi, negative, scale);
            let expected = if value.is_zero() { value.abs().to_string() } else { value.to_string() };
            prop_assert_eq!(Number::decimal(value).as_bytes().to_vec(), expected.into_bytes());
        }

        #[test]
        fn any_integer_is_written_as_its_display(signed: i64, unsigned: u64) {
            prop_assert_eq!(Number::signed(signed).as_bytes().to_vec(), signed.to_string().into_bytes());
            prop_assert_eq!(Number::unsigned(unsigned).as_bytes().to_vec(), unsigned.to_string().into_bytes());
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Commands::new();
        out.begin(Tag::Control, 3);
        out.arg("SET");
        out.arg("k");
        out.int(-10);
        assert_eq!(out.bytes(), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n-10\r\n");
        assert_eq!(out.tags(), [Tag::Control]);
        assert_eq!(as_words(out.bytes()), [["SET", "k", "-10"]]);
    }

    #[test]
    fn fields_are_told_apart_by_their_fingerprint() {
        let print = |words: &[&str]| {
            let mut out = Commands::new();
            out.words(Tag::Control, &["PING"]);
            let from = out.bytes().len();
            out.words(Tag::CurrentHash, words);
            out.mark_fields(from, &["size", "side"]);
            out.marks()[1]
        };
        let usual = print(&["HSET", "k", "side", "long", "seq", "1", "size", "2"]);
        assert_eq!(usual, fingerprint_all(&[Some(b"2"), Some(b"long")]));
        assert_eq!(usual, print(&["HSET", "k", "side", "long", "seq", "9", "size", "2"]));
        assert_ne!(usual, print(&["HSET", "k", "side", "long", "seq", "1", "size", "3"]));
        assert_ne!(usual, print(&["HSET", "k", "side", "long"]));
        assert_ne!(fingerprint_all(&[Some(b"2l"), Some(b"ong")]), fingerprint_all(&[Some(b"2"), Some(b"long")]));
    }

    #[test]
    fn a_quarantined_key_is_left_out_and_the_others_go_on() {
        let mut out = Commands::new();
        let symbol = crate::domain::symbol::SymbolId(1);
        out.set_blocked(Tag::Market(symbol), true);
        out.words(Tag::Breaker, &["SET", "a", "1"]);
        out.words(Tag::MarketLean(symbol), &["SET", "b", "2"]);
        out.mark(9);
        out.words(Tag::Market(symbol), &["SET", "c", "3"]);
        out.settle();
        assert_eq!(as_words(out.bytes()), [["SET", "a", "1"]]);
        assert_eq!((out.tags(), out.marks()), (&[Tag::Breaker][..], &[0][..]));
    }
}
