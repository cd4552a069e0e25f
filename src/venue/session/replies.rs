//! What the exchange answers to requests, byte for byte as clients know it.

use crate::venue::config::Generation;
use serde_json::Value;
use std::fmt::Write;

/// Errors of a session, with the texts of the real exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// 30001: the argument names nothing that exists.
    NotThere,
    /// 30002
    Unrecognised,
    /// 30003
    InvalidOp,
    /// 30004
    NotLoggedIn,
    /// 30005
    LoginFailed,
    /// 30006
    TooMany,
    /// 30007
    OverLimit,
    /// 30011
    BadKey,
    /// 30012
    BadPassphrase,
    /// 30013
    BadTimestamp,
    /// 30014
    Expired,
    /// 30015
    BadSign,
    /// 30016
    BadParameter,
}

impl Reject {
    pub const fn code(&self) -> u32 {
        match self {
            Self::NotThere => 30001,
            Self::Unrecognised => 30002,
            Self::InvalidOp => 30003,
            Self::NotLoggedIn => 30004,
            Self::LoginFailed => 30005,
            Self::TooMany => 30006,
            Self::OverLimit => 30007,
            Self::BadKey => 30011,
            Self::BadPassphrase => 30012,
            Self::BadTimestamp => 30013,
            Self::Expired => 30014,
            Self::BadSign => 30015,
            Self::BadParameter => 30016,
        }
    }

    fn message(&self, generation: Generation, arg: Option<&Value>) -> String {
        match self {
            Self::NotThere => match (generation, arg) {
                (Generation::V2, Some(arg)) => {
                    let part = |key: &str| arg[key].as_str().map_or_else(|| "null".to_owned(), str::to_owned);
                    let (product, channel, name) = (part("instType"), part("channel"), part("instId"));
                    format!("instType:{product},channel:{channel},instId:{name},precision:null doesn't exist")
                }
                (_, arg) => format!("{} doesn't exist", arg.cloned().unwrap_or_default()),
            },
            Self::Unrecognised => "Unrecognized request".to_owned(),
            Self::InvalidOp => "Invalid op".to_owned(),
            Self::NotLoggedIn => "User needs to log in".to_owned(),
            Self::LoginFailed => "Login failed".to_owned(),
            Self::TooMany => "Request too many".to_owned(),
            Self::OverLimit => "Request over limit, connection closed".to_owned(),
            Self::BadKey => "Invalid ACCESS_KEY".to_owned(),
            Self::BadPassphrase => "Invalid ACCESS_PASSPHRASE".to_owned(),
            Self::BadTimestamp => "Invalid ACCESS_TIMESTAMP".to_owned(),
            Self::Expired => "Request timestamp expired".to_owned(),
            Self::BadSign => "Invalid sign".to_owned(),
            Self::BadParameter => "Param error".to_owned(),
        }
    }
}

/// The voice of one connection.
#[derive(Clone, Debug)]
pub struct Voice {
    pub generation: Generation,
    pub connection: String,
    /// Fault `code_as_string`.
    pub codes_as_text: bool,
}

impl Voice {
    fn code(&self, code: u32) -> String {
        if self.codes_as_text { format!("\"{code}\"") } else { code.to_string() }
    }

    /// `subscribe` and `unsubscribe`: one per argument, without a code.
    pub fn ack(&self, event: &str, arg: &Value) -> String {
        let arg = arg_text(arg);
        match self.generation {
            Generation::V2 => format!(r#"{{"event":"{event}","arg":{arg}}}"#),
            Generation::V3 => format!(r#"{{"event":"{event}","arg":{arg},"connId":"{}"}}"#, self.connection),
        }
    }

    pub fn logged_in(&self) -> String {
        format!(r#"{{"event":"login","code":{},"connId":"{}"}}"#, self.code(0), self.connection)
    }

    /// v2 echoes the argument and the operation, v3 says neither.
    pub fn error(&self, reject: &Reject, arg: Option<&Value>, op: Option<&str>) -> String {
        let code = self.code(reject.code());
        let message = Value::String(reject.message(self.generation, arg));
        let mut out = String::from(r#"{"event":"error""#);
        if let (Generation::V2, Some(arg)) = (self.generation, arg) {
            let _ = write!(out, r#","arg":{}"#, arg_text(arg));
        }
        let _ = write!(out, r#","code":{code},"msg":{message}"#);
        match (self.generation, op) {
            (Generation::V2, Some(op)) => {
                let _ = write!(out, r#","op":{}"#, Value::from(op));
            }
            (Generation::V2, None) => {}
            (Generation::V3, _) => {
                let _ = write!(out, r#","connId":"{}""#, self.connection);
            }
        }
        out.push('}');
        out
    }
}

/// The argument as clients write it: type, channel, selector, the rest.
pub fn arg_text(arg: &Value) -> String {
    const ORDER: [&str; 7] = ["instType", "channel", "topic", "instId", "symbol", "coin", "interval"];
    let Value::Object(fields) = arg else { return arg.to_string() };
    let mut out = String::from("{");
    let known = ORDER.iter().filter_map(|key| fields.get_key_value(*key));
    let rest = fields.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
    for (key, value) in known.chain(rest) {
        if out.len() > 1 {
            out.push(',');
        }
        let _ = write!(out, "{}:{value}", Value::from(key.as_str()));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn voice(generation: Generation) -> Voice {
        Voice { generation, connection: "c1".to_owned(), codes_as_text: false }
    }

    #[test]
    fn shapes_of_both_generations() {
        let v2 = json!({"instType":"USDT-FUTURES","channel":"books","instId":"NOPEUSDT"});
        let v3 = json!({"instType":"usdt-futures","topic":"books","symbol":"NOPEUSDT"});
        assert_eq!(
            voice(Generation::V2).error(&Reject::NotThere, Some(&v2), Some("subscribe")),
            r#"{"event":"error","arg":{"instType":"USDT-FUTURES","channel":"books","instId":"NOPEUSDT"},"code":30001,"msg":"instType:USDT-FUTURES,channel:books,instId:NOPEUSDT,precision:null doesn't exist","op":"subscribe"}"#
        );
        assert_eq!(
            voice(Generation::V3).error(&Reject::NotThere, Some(&v3), Some("subscribe")),
            r#"{"event":"error","code":30001,"msg":"{\"instType\":\"usdt-futures\",\"symbol\":\"NOPEUSDT\",\"topic\":\"books\"} doesn't exist","connId":"c1"}"#
        );
        assert_eq!(
            voice(Generation::V2).ack("subscribe", &v2),
            r#"{"event":"subscribe","arg":{"instType":"USDT-FUTURES","channel":"books","instId":"NOPEUSDT"}}"#
        );
        assert_eq!(
            voice(Generation::V3).ack("subscribe", &v3),
            r#"{"event":"subscribe","arg":{"instType":"usdt-futures","topic":"books","symbol":"NOPEUSDT"},"connId":"c1"}"#
        );
    }

    #[test]
    fn codes_can_be_text() {
        let voice = Voice { codes_as_text: true, ..voice(Generation::V2) };
        assert_eq!(voice.logged_in(), r#"{"event":"login","code":"0","connId":"c1"}"#);
    }
}
