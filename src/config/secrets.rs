//! Secrets: from `$CREDENTIALS_DIRECTORY` (systemd), from files that others cannot read, or from the environment;
//! never from the configuration file itself, and never into a log, a dump or an error.

use super::Config;
use super::env::Env;
use super::errors::Wrong;
use super::reader::Faults;
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A key of the exchange that may read the account.
#[derive(Clone, Debug)]
pub struct BitgetCredentials {
    pub key: SecretString,
    pub secret: SecretString,
    pub passphrase: SecretString,
}

/// What was found; `Debug` shows `[REDACTED]` in place of each value.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    pub bitget: Option<BitgetCredentials>,
    pub redis_password: Option<SecretString>,
    /// What a caller of the status pages must present when they listen beyond this machine.
    pub status_token: Option<SecretString>,
}

impl Secrets {
    fn parts(&self) -> [Option<&SecretString>; 5] {
        let bitget = self.bitget.as_ref();
        [
            bitget.map(|c| &c.key),
            bitget.map(|c| &c.secret),
            bitget.map(|c| &c.passphrase),
            self.redis_password.as_ref(),
            self.status_token.as_ref(),
        ]
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.parts().iter().zip(other.parts()).all(|(ours, theirs)| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.expose_secret() == theirs.expose_secret(),
            (None, None) => true,
            _ => false,
        })
    }
}

/// The longest secret that is read, bytes.
const SECRET_MAX: u64 = 4_096;

/// The places a secret may come from.
struct Source<'a> {
    /// Setting that names a file.
    setting: &'static str,
    file: Option<&'a Path>,
    /// Name below `$CREDENTIALS_DIRECTORY`.
    credential: &'static str,
    variable: &'static str,
}

pub(super) fn read(config: &Config, env: &Env, faults: &mut Faults) -> Secrets {
    let files = &config.exchange.credentials;
    let bitget = [
        ("exchange.credentials.key_file", &files.key_file, "bitget_key", "TRAPLINE_BITGET_KEY"),
        ("exchange.credentials.secret_file", &files.secret_file, "bitget_secret", "TRAPLINE_BITGET_SECRET"),
        (
            "exchange.credentials.passphrase_file",
            &files.passphrase_file,
            "bitget_passphrase",
            "TRAPLINE_BITGET_PASSPHRASE",
        ),
    ]
    .map(|(setting, file, credential, variable)| Source { setting, file: file.as_deref(), credential, variable });
    let faults_before = faults.list.len();
    let found = [0, 1, 2].map(|i: usize| resolve(&bitget[i], env, faults));
    let some = found.iter().any(Option::is_some) || faults.list.len() > faults_before;
    for (source, value) in bitget.iter().zip(&found) {
        if some && value.is_none() {
            faults.report(source.setting, missing(source, "is missing while the other parts of the key are there"));
        }
        if !some && config.exchange.private == super::PrivateData::On {
            faults.report(source.setting, missing(source, "is missing, and `exchange.private` is \"on\""));
        }
    }
    let [key, secret, passphrase] = found;
    let bitget = match (key, secret, passphrase) {
        (Some(key), Some(secret), Some(passphrase)) => Some(BitgetCredentials { key, secret, passphrase }),
        _ => None,
    };
    let redis = Source {
        setting: "redis.password_file",
        file: config.redis.password_file.as_deref(),
        credential: "redis_password",
        variable: "TRAPLINE_REDIS_PASSWORD",
    };
    let status = Source {
        setting: "status.token_file",
        file: config.status.token_file.as_deref(),
        credential: "status_token",
        variable: "TRAPLINE_STATUS_TOKEN",
    };
    let secrets =
        Secrets { bitget, redis_password: resolve(&redis, env, faults), status_token: resolve(&status, env, faults) };
    if config.status.listens_beyond_this_machine() && secrets.status_token.is_none() {
        faults.report(
            "status.listen",
            Wrong::new(
                "listens beyond this machine without a token",
                "listen on 127.0.0.1, or name a file of mode 0600 with a long random text in `status.token_file`",
            ),
        );
    }
    secrets
}

fn missing(source: &Source<'_>, problem: &str) -> Wrong {
    let remedy = format!(
        "name a file of mode 0600 in `{}`, or set {}, or give systemd the credential `{}`",
        source.setting, source.variable, source.credential
    );
    Wrong::new(problem, remedy)
}

fn resolve(source: &Source<'_>, env: &Env, faults: &mut Faults) -> Option<SecretString> {
    if let Some(directory) = env.get("CREDENTIALS_DIRECTORY") {
        let path = Path::new(directory).join(source.credential);
        if path.exists() {
            // systemd keeps the folder itself private; an access list shows up as group bits, so only 'others' count.
            return read_file(&path, 0o007).map_err(|wrong| faults.report(source.setting, wrong)).ok();
        }
    }
    if let Some(path) = source.file {
        return read_file(path, 0o077).map_err(|wrong| faults.report(source.setting, wrong)).ok();
    }
    let text = env.get(source.variable)?;
    checked(text).map_err(|wrong| faults.report(source.setting, wrong)).ok()
}

/// Reads one secret from a file whose mode has none of the `forbidden` bits. The mode is that of the opened file, so
/// it cannot be exchanged between the look and the reading.
fn read_file(path: &Path, forbidden: u32) -> Result<SecretString, Wrong> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Wrong::new(
            format!("cannot read {shown}: {}", crate::error::words(error.kind())),
            "check the path and who runs trapline",
        )
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Wrong::new(format!("{shown} is not a file"), "name a file that holds the secret and nothing else"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(Wrong::new(
            format!("{shown} can be read or changed by others (mode {mode:04o})"),
            format!("chmod 600 {shown}"),
        ));
    }
    let mut text = String::new();
    file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    checked(&text).map_err(|wrong| Wrong::new(format!("{shown}: {}", wrong.problem), wrong.remedy))
}

fn checked(text: &str) -> Result<SecretString, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::new("the secret is empty", "write the secret on one line"));
    }
    if text.len() as u64 > SECRET_MAX || text.chars().any(char::is_control) {
        return Err(Wrong::new("this is not a secret on one line", "write the secret, and nothing else, on one line"));
    }
    Ok(SecretString::from(text))
}
