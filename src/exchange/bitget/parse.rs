//! One text frame in, reports appended to a list, or a control event, or a refusal with its reason.
//!
//! The frame is read once: `arg` and `action` come before `data` on the wire, so rows are typed while they are
//! passed over. Where `data` comes first (unified samples show it), its text is kept and read after the rest.

use super::consts::{DEPTH_MAX, FRAME_MAX_BYTES, Generation, PONG};
use super::fast_ticker::{self, FastTicker};
use super::messages::Arg;
use super::parse_private::PrivateRows;
use super::parse_public::PublicRows;
use super::scalar::{Name, Scalar};
use super::subscribe::{Channel, Stream, stream_of};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::Report;
use crate::domain::symbol::Symbols;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Where decoding puts its results; reused from frame to frame so that a frame costs no allocation.
#[derive(Debug, Default)]
pub struct Decoded {
    pub reports: Vec<Report>,
    pub refused: Vec<Refused>,
}

/// What a frame was.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Data of this stream; its reports were appended. Single rows may have been refused.
    Data(Stream),
    Control(Control),
    /// Not believed; one or more entries were appended to `refused`, nothing to `reports`.
    Refused,
}

/// What is not data.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Pong,
    Subscribed(Option<Stream>),
    Unsubscribed(Option<Stream>),
    LoggedIn,
    /// `stream` where the error says which subscription it is about. `code` is `None` if it was no number.
    Error {
        code: Option<i64>,
        stream: Option<Stream>,
        message: String,
    },
}

/// A refusal with the field that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub refusal: Refusal,
    pub field: &'static str,
}

impl Flaw {
    pub(super) const fn new(refusal: Refusal, field: &'static str) -> Self {
        Self { refusal, field }
    }

    pub(super) const fn bad(field: &'static str) -> Self {
        Self::new(Refusal::BadField, field)
    }
}

/// The checks that need no JSON: length, and nesting that could hurt whoever looks at it next.
pub fn frame_sanity(text: &str) -> Result<(), Refusal> {
    if text.len() > FRAME_MAX_BYTES {
        return Err(Refusal::Oversized);
    }
    let bytes = text.as_bytes();
    // The count of openings bounds the depth from above and costs next to nothing; most frames end here.
    if openings(bytes) <= DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Refusal::Garbage);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Counts `{` and `[`. In short runs of bytes, because sums of bytes are what the compiler does sixteen at a time.
fn openings(bytes: &[u8]) -> usize {
    let run = |run: &[u8]| run.iter().fold(0_u8, |sum, &b| sum + u8::from((b == b'{') | (b == b'[')));
    bytes.chunks(128).map(|chunk| usize::from(run(chunk))).sum()
}

/// Reads frames of one generation.
#[derive(Clone, Debug)]
pub struct Decoder {
    generation: Generation,
    symbols: Arc<Symbols>,
}

impl Decoder {
    pub fn new(generation: Generation, symbols: Arc<Symbols>) -> Self {
        Self { generation, symbols }
    }

    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Reads one text frame, received at `received_ms`.
    pub fn decode(&self, text: &str, received_ms: i64, out: &mut Decoded) -> Frame {
        if text == PONG {
            return Frame::Control(Control::Pong);
        }
        if let Some(stream) = fast_ticker::scan(text).and_then(|frame| self.fast(&frame, out)) {
            return Frame::Data(stream);
        }
        self.decode_generally(text, received_ms, out)
    }

    /// A ticker read the short way; `None` where the general way has to judge.
    fn fast(&self, frame: &FastTicker<'_>, out: &mut Decoded) -> Option<Stream> {
        let stream = stream_of(self.generation, &self.symbols, &frame.arg).ok()?;
        let symbol = stream.symbol.filter(|_| stream.channel == Channel::Ticker)?;
        if frame.row.inst_id.get().is_some_and(|id| id != self.symbols.name(symbol)) {
            return None;
        }
        let ticker = super::parse_public::ticker_at(&frame.row, symbol, frame.time_ms).ok()?;
        out.reports.push(Report::Ticker(ticker));
        Some(stream)
    }

    /// Any frame, by the JSON parser.
    pub(super) fn decode_generally(&self, text: &str, received_ms: i64, out: &mut Decoded) -> Frame {
        if let Err(refusal) = frame_sanity(text) {
            out.refused.push(Refused::new(refusal, "frame", received_ms, snippet(text)));
            return Frame::Refused;
        }
        let marks = (out.reports.len(), out.refused.len());
        let mut outcome = None;
        if let Some(guess) = self.guess(text) {
            outcome =
                self.envelope(text, Some(guess), received_ms, out).ok().filter(|envelope| envelope.bears_out(guess));
            if outcome.is_none() {
                out.reports.truncate(marks.0);
                out.refused.truncate(marks.1);
            }
        }
        let outcome = outcome.map_or_else(|| self.envelope(text, None, received_ms, out), Ok);
        let outcome = match outcome {
            Ok(envelope) if !envelope.event.as_str().is_empty() => self.control(&envelope).map(Frame::Control),
            Ok(envelope) => self.data(&envelope, received_ms, marks.0, out).map(Frame::Data),
            Err(error) => Err((why_unreadable(text, &error), "frame", "")),
        };
        outcome.unwrap_or_else(|(refusal, kind, field)| {
            out.reports.truncate(marks.0);
            out.refused.truncate(marks.1);
            // What a private frame holds stays out of the quarantine; the field says enough.
            let detail = if field.is_empty() { snippet(text) } else { field };
            out.refused.push(Refused::new(refusal, kind, received_ms, detail));
            Frame::Refused
        })
    }

    /// Reads the frame; its rows, too, where it is known by then what they are.
    fn envelope<'t>(
        &self,
        text: &'t str,
        guess: Option<Guess>,
        received_ms: i64,
        out: &mut Decoded,
    ) -> serde_json::Result<Envelope<'t>> {
        let mut json = serde_json::Deserializer::from_str(text);
        let seed = FrameSeed { decoder: self, guess, received_ms, out };
        seed.deserialize(&mut json).and_then(|envelope| json.end().map(|()| envelope))
    }

    /// Where `data` comes first, what it belongs to stands behind it: a look at the frame's end saves reading the rows
    /// twice. Only a guess, since a frame's end can stand anywhere; what is read by it is held to the envelope.
    fn guess(&self, text: &str) -> Option<Guess> {
        const END_BYTES: usize = 256;
        if !text.starts_with("{\"data\":") {
            return None;
        }
        let from = text.len().saturating_sub(END_BYTES);
        let end = (from..from + 4).find_map(|from| text.get(from..))?;
        let end = end.get(end.rfind("\"arg\":")? + "\"arg\":".len()..)?;
        let mut json = serde_json::Deserializer::from_str(end).into_iter::<Arg<'_>>();
        let stream = stream_of(self.generation, &self.symbols, &json.next()?.ok()?).ok()?;
        let rest = end.get(json.byte_offset()..)?;
        let snapshot = rest.starts_with(",\"action\":\"snapshot\"");
        (!stream.channel.is_private()).then_some(Guess { stream, snapshot })
    }

    fn public_rows<'o>(
        &'o self,
        stream: Stream,
        snapshot: bool,
        received_ms: i64,
        out: &'o mut Decoded,
    ) -> PublicRows<'o> {
        let name = stream.symbol.map_or("", |id| self.symbols.name(id));
        PublicRows { stream, name, snapshot, received_ms, out }
    }

    fn data(
        &self,
        envelope: &Envelope<'_>,
        received_ms: i64,
        start: usize,
        out: &mut Decoded,
    ) -> Result<Stream, (Refusal, &'static str, &'static str)> {
        let stream = match envelope.route {
            Some(Ok(stream)) => stream,
            Some(Err((refusal, kind))) => return Err((refusal, kind, "")),
            None => return Err((Refusal::UnknownShape, "frame", "")),
        };
        let kind = stream.channel.label();
        let Some(snapshot) = envelope.snapshot else { return Err((Refusal::UnknownShape, kind, "action")) };
        let time_ms = envelope.ts.millis().map_err(|refusal| (refusal, kind, "ts"))?;
        match &envelope.rows {
            Rows::Missing => return Err((Refusal::BadField, kind, "data is missing")),
            Rows::Read => {}
            Rows::Text(raw) if stream.channel.is_private() => {
                let time_ms = time_ms.ok_or((Refusal::BadField, kind, "ts is missing"))?;
                let rows = PrivateRows::new(self.generation, &self.symbols, received_ms, time_ms);
                rows.read(stream, snapshot, raw.get(), out).map_err(|flaw| (flaw.refusal, kind, flaw.field))?;
            }
            Rows::Text(raw) => {
                let rows = self.public_rows(stream, snapshot, received_ms, out);
                let mut json = serde_json::Deserializer::from_str(raw.get());
                rows.deserialize(&mut json).map_err(|_| (Refusal::BadField, kind, "data"))?;
            }
        }
        if !stream.channel.is_private() {
            let reports = out.reports.get_mut(start..).unwrap_or_default();
            super::parse_public::finish(reports, time_ms).map_err(|flaw| (flaw.refusal, kind, flaw.field))?;
        }
        Ok(stream)
    }

    fn control(&self, envelope: &Envelope<'_>) -> Result<Control, (Refusal, &'static str, &'static str)> {
        let stream = envelope.route.and_then(Result::ok);
        let code = match envelope.code {
            Scalar::Unsigned(n) => i64::try_from(n).ok(),
            Scalar::Signed(n) => Some(n),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Absent | Scalar::Float(_) => None,
        };
        match envelope.event.as_str() {
            "subscribe" => Ok(Control::Subscribed(stream)),
            "unsubscribe" => Ok(Control::Unsubscribed(stream)),
            "login" if code == Some(0) => Ok(Control::LoggedIn),
            "error" | "login" => {
                let message = envelope.msg.as_str();
                let stream = stream.or_else(|| self.stream_in(message));
                Ok(Control::Error { code, stream, message: snippet(message).chars().take(200).collect() })
            }
            _ => Err((Refusal::UnknownShape, "frame", "")),
        }
    }

    /// Unified errors carry no `arg`, but quote it: `{"instType":..,"symbol":..,"topic":..} doesn't exist`.
    fn stream_in(&self, message: &str) -> Option<Stream> {
        let quoted = message.get(message.find('{')?..)?;
        let mut parts = serde_json::Deserializer::from_str(quoted).into_iter::<Arg<'_>>();
        stream_of(self.generation, &self.symbols, &parts.next()?.ok()?).ok()
    }
}

/// What of a frame may be shown to people; never anything that could be a key.
fn snippet(text: &str) -> &str {
    const SECRETIVE: [&str; 3] = ["apiKey", "passphrase", "\"sign\""];
    if SECRETIVE.iter().any(|word| text.contains(word)) { "(withheld: looks like a login)" } else { text }
}

#[cold]
fn why_unreadable(text: &str, error: &serde_json::Error) -> Refusal {
    if serde_json::from_str::<de::IgnoredAny>(text).is_err() {
        Refusal::Garbage
    } else if error.is_data() && text.trim_start().starts_with('{') {
        Refusal::BadField
    } else {
        Refusal::UnknownShape
    }
}

/// What a frame's rows may belong to.
#[derive(Clone, Copy)]
struct Guess {
    stream: Stream,
    snapshot: bool,
}

/// Everything of a frame but its rows.
struct Envelope<'a> {
    event: Name<'a>,
    snapshot: Option<bool>,
    route: Option<Result<Stream, (Refusal, &'static str)>>,
    ts: Scalar<'a>,
    code: Scalar<'a>,
    msg: Name<'a>,
    rows: Rows<'a>,
}

impl Envelope<'_> {
    fn bears_out(&self, guess: Guess) -> bool {
        self.route == Some(Ok(guess.stream)) && self.snapshot == Some(guess.snapshot)
    }
}

enum Rows<'a> {
    Missing,
    /// Not read yet.
    Text(&'a RawValue),
    /// Read in passing, appended to the reports.
    Read,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Action,
    Arg,
    Data,
    Ts,
    Event,
    Code,
    Msg,
    #[serde(other)]
    Other,
}

struct FrameSeed<'d, 'o> {
    decoder: &'d Decoder,
    guess: Option<Guess>,
    received_ms: i64,
    out: &'o mut Decoded,
}

impl<'de> DeserializeSeed<'de> for FrameSeed<'_, '_> {
    type Value = Envelope<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_, '_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { decoder, guess, received_ms, out } = self;
        let mut envelope = Envelope {
            event: Name::default(),
            snapshot: None,
            route: None,
            ts: Scalar::Absent,
            code: Scalar::Absent,
            msg: Name::default(),
            rows: Rows::Missing,
        };
        let twice = || de::Error::custom("a key stands twice");
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Action => {
                    let action: Name<'de> = map.next_value()?;
                    let snapshot = match action.as_str() {
                        "snapshot" => Some(true),
                        "update" => Some(false),
                        _ => None,
                    };
                    if envelope.snapshot.is_some() {
                        return Err(twice());
                    }
                    envelope.snapshot = snapshot;
                }
                Key::Arg => {
                    let arg: Arg<'de> = map.next_value()?;
                    if envelope.route.is_some() {
                        return Err(twice());
                    }
                    envelope.route = Some(stream_of(decoder.generation, &decoder.symbols, &arg));
                }
                Key::Data => {
                    if !matches!(envelope.rows, Rows::Missing) {
                        return Err(twice());
                    }
                    let known = match (envelope.route, envelope.snapshot, guess) {
                        (None, None, Some(Guess { stream, snapshot })) => (Some(Ok(stream)), Some(snapshot)),
                        (route, snapshot, _) => (route, snapshot),
                    };
                    envelope.rows = match known {
                        (Some(Ok(stream)), Some(snapshot)) if !stream.channel.is_private() => {
                            map.next_value_seed(decoder.public_rows(stream, snapshot, received_ms, out))?;
                            Rows::Read
                        }
                        _ => Rows::Text(map.next_value()?),
                    };
                }
                Key::Ts => envelope.ts = map.next_value()?,
                Key::Event => envelope.event = map.next_value()?,
                Key::Code => envelope.code = map.next_value()?,
                Key::Msg => envelope.msg = map.next_value()?,
                Key::Other => {
                    map.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}
