//! The two programs that are measured, as processes.

use super::options::{Case, Options};
use super::process::Process;
use super::{Fallible, fail};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where everything is for one measurement.
pub struct Scene<'a> {
    pub options: &'a Options,
    pub trapline: &'a Path,
    /// `ws://HOST:PORT`.
    pub exchange: String,
    /// `HOST:PORT`.
    pub redis: &'a str,
    pub symbols: &'a [String],
}

/// A measured program; its folder goes with it.
pub struct Client {
    pub process: Process,
    case: Case,
    _folder: tempfile::TempDir,
}

impl Client {
    pub fn start(case: Case, scene: &Scene<'_>) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let command = match case {
            Case::A => floor(scene)?,
            Case::B | Case::C => {
                let file = folder.path().join("trapline.toml");
                std::fs::write(&file, settings(scene, case == Case::C, folder.path()))?;
                let mut command = Command::new(scene.trapline);
                command.arg("run").arg("--config").arg(file);
                command
            }
        };
        let mut command = command;
        command.stdout(Stdio::null()).stderr(scene.options.child_stderr());
        Ok(Self { process: Process::start(case.label(), command)?, case, _folder: folder })
    }

    pub fn stop(self) -> Fallible<()> {
        match self.case {
            Case::A => self.process.finish(),
            Case::B | Case::C => self.process.stop(),
        }
    }
}

fn floor(scene: &Scene<'_>) -> Fallible<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "--exchange", &scene.exchange, "--redis", scene.redis]);
    command.args(["--generation", scene.options.generation.label(), "--symbols", &scene.symbols.join(",")]);
    Ok(command)
}

/// Every check is on. What differs from the defaults: the addresses, rates so high that they never hold back, and the
/// patience with channels on which a firehose of tickers says nothing.
fn settings(scene: &Scene<'_>, conflate: bool, folder: &Path) -> String {
    let options = scene.options;
    let symbols: Vec<_> = scene.symbols.iter().map(|name| format!("{name:?}")).collect();
    let rest = scene.exchange.replacen("ws", "http", 1);
    let mut text = String::new();
    let _ = write!(
        text,
        r#"
[exchange]
generation = "{generation}"
public_url = "{public}"
rest_url = "{rest}"
private = "off"
symbols = [{symbols}]
candles = []
max_channels_per_connection = {channels}
subscribe_gap_ms = 130
first_data_ms = 600000
silence_ms = 600000
[redis]
url = "redis://{redis}"
conflate = {conflate}
[rates]
market_data_per_minute = {rate}
[status]
listen = ""
[log]
level = "warn"
[state]
dir = {state:?}
"#,
        generation = options.generation.label(),
        public = scene.exchange,
        symbols = symbols.join(", "),
        channels = options.channels,
        redis = scene.redis,
        rate = 100_000_000,
        state = folder.join("state").display().to_string(),
    );
    text
}

/// The trapline program: given, built by cargo for this benchmark, or beside the benchmark.
pub fn find_trapline(options: &Options) -> Fallible<PathBuf> {
    let built = options.trapline.clone().or_else(|| option_env!("CARGO_BIN_EXE_trapline").map(PathBuf::from));
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("trapline"));
    match built.or_else(beside).filter(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => fail("no trapline program: build it with `cargo build --release` and name it with --trapline"),
    }
}
