//! What the exchange's error codes mean for us, and the errors of this folder.

use crate::error::Remedy;
use std::time::Duration;

/// What a session does about an error that the exchange sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeAction {
    /// 30001, 30016: this subscription does not exist; the others go on.
    DropSubscription,
    /// 30004: logged out, or never in: begin again with the login.
    LoginAgain,
    /// 30006, 30007: too many messages; wait before the next one or the next connection.
    BackOff,
    /// 30013, 30014: our clock is off; measure it and try once more.
    SyncClock,
    /// 30005, 30011, 30012, 30015: the key is not accepted. A person has to act; slow retry meanwhile.
    LoginRefused,
    /// 30002, 30003 and what nobody knows: counted and told, the connection goes on.
    Note,
}

/// Sorts a WebSocket error code.
pub const fn code_action(code: i64) -> CodeAction {
    match code {
        30001 | 30016 => CodeAction::DropSubscription,
        30004 => CodeAction::LoginAgain,
        30006 | 30007 => CodeAction::BackOff,
        30013 | 30014 => CodeAction::SyncClock,
        30005 | 30011 | 30012 | 30015 => CodeAction::LoginRefused,
        _ => CodeAction::Note,
    }
}

/// What a person changes when a login is refused with `code` (WebSocket or REST).
pub const fn login_fix(code: i64) -> &'static str {
    match code {
        30011 | 40001 | 40006 | 40037 => {
            "the API key is unknown: check the key (TRAPLINE_BITGET_KEY or [exchange.credentials]), and that key and demo_trading belong together"
        }
        30012 | 40011 | 40012 => {
            "the passphrase is wrong: check it (TRAPLINE_BITGET_PASSPHRASE or [exchange.credentials]); it was chosen together with the API key"
        }
        30015 | 40002 | 40003 | 40009 => {
            "the signature is wrong: check the secret (TRAPLINE_BITGET_SECRET or [exchange.credentials])"
        }
        30013 | 30014 | 40005 | 40008 => "this machine's clock is off by more than 30 s: enable time synchronisation",
        40014 => "the API key lacks the permission to read futures positions: add it at the exchange",
        40018 | 40038 => "this machine's IP address is not on the API key's list: add it at the exchange",
        40084 => "the account is a classic one: set [exchange] generation to \"v2\" or \"auto\"",
        40085 => "the account is a unified one: set [exchange] generation to \"v3\" or \"auto\"",
        _ => "the login was refused: check key, secret and passphrase, and that the key may read futures positions",
    }
}

/// Why the exchange gave no usable answer to a REST call. Never an empty answer: 'no answer' and 'nothing there'
/// are different facts.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No connection, timeout, broken body.
    #[error("no answer from the exchange: {reason}")]
    Transport { reason: String },
    /// Not a 2xx, and no envelope of the exchange inside (a proxy's page, an overload).
    #[error("the exchange answered http {status}")]
    Status {
        status: u16,
        /// How long the exchange asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The exchange's own error code.
    #[error("the exchange answered code {code}: {message}")]
    Code { code: i64, message: String },
    /// Empty, cut off, HTML, or not the shape that the call has.
    #[error("unreadable answer: {reason}")]
    Unreadable { reason: String },
    /// Longer than the limit.
    #[error("answer longer than {limit} bytes")]
    Oversized { limit: usize },
    /// Told the time, but was too long under way to say what time it is.
    #[error("the answer took {took_ms} ms, too long to set a clock by")]
    Slow { took_ms: i64 },
    #[error("no API key configured")]
    NoCredential,
}

impl RestError {
    pub fn remedy(&self) -> Remedy {
        const SOON: Duration = Duration::from_secs(1);
        const LATER: Duration = Duration::from_secs(30);
        match self {
            Self::Transport { .. } | Self::Unreadable { .. } | Self::Oversized { .. } | Self::Slow { .. } => {
                Remedy::Retry { after: SOON }
            }
            Self::Status { retry_after: Some(after), .. } => Remedy::Retry { after: (*after).max(SOON) },
            Self::Status { status: 403 | 418 | 429, .. } => Remedy::Retry { after: LATER },
            Self::Status { .. } => Remedy::Retry { after: SOON },
            Self::Code { code, .. } => match code {
                429 => Remedy::Retry { after: LATER },
                // Clock: measured anew by the caller before the next try.
                40005 | 40008 => Remedy::Retry { after: SOON },
                40001..=40003 | 40006 | 40009 | 40011 | 40012 | 40014 | 40018 | 40037 | 40038 => Remedy::GiveUp,
                40017 | 40020 | 40034 | 40084 | 40085 | 40404 | 400_172 | 30032 => Remedy::GiveUp,
                _ => Remedy::Retry { after: SOON },
            },
            Self::NoCredential => Remedy::GiveUp,
        }
    }

    /// Whether a parameter of the question is what the exchange refuses, and not who asks or when: this question will
    /// never be answered, others may be.
    pub const fn blames_question(&self) -> bool {
        matches!(self, Self::Code { code: 40017 | 40020 | 40034 | 400_172, .. })
    }

    /// A bounded word for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Transport { .. } => "transport",
            Self::Status { .. } => "status",
            Self::Code { .. } => "code",
            Self::Unreadable { .. } => "unreadable",
            Self::Oversized { .. } => "oversized",
            Self::Slow { .. } => "slow",
            Self::NoCredential => "no_credential",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_as_the_table_says() {
        let cases = [
            (30001, CodeAction::DropSubscription),
            (30002, CodeAction::Note),
            (30003, CodeAction::Note),
            (30004, CodeAction::LoginAgain),
            (30005, CodeAction::LoginRefused),
            (30006, CodeAction::BackOff),
            (30007, CodeAction::BackOff),
            (30011, CodeAction::LoginRefused),
            (30012, CodeAction::LoginRefused),
            (30013, CodeAction::SyncClock),
            (30014, CodeAction::SyncClock),
            (30015, CodeAction::LoginRefused),
            (30016, CodeAction::DropSubscription),
            (99999, CodeAction::Note),
        ];
        for (code, action) in cases {
            assert_eq!(code_action(code), action, "case: {code}");
        }
    }

    #[test]
    fn a_refused_key_says_nothing_of_the_question() {
        let error = |code| RestError::Code { code, message: String::new() };
        assert!([40017, 40034, 400_172].into_iter().all(|code| error(code).blames_question()));
        assert!(![40006, 40012, 40084, 40404, 429].into_iter().any(|code| error(code).blames_question()));
    }

    #[test]
    fn an_account_of_the_other_kind_is_not_tried_again() {
        for code in [40084, 40085, 40006, 40009, 40012] {
            let error = RestError::Code { code, message: String::new() };
            assert_eq!(error.remedy(), Remedy::GiveUp, "case: {code}");
            assert!(!login_fix(code).is_empty());
        }
        let busy = RestError::Code { code: 45001, message: String::new() };
        assert!(matches!(busy.remedy(), Remedy::Retry { .. }));
    }
}
