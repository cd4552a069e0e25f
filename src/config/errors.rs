//! What is wrong with a configuration: every fault at once, each with its place and what to do about it.

use std::fmt;

/// Where a faulty setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// Line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
    /// Written nowhere: the default, or a value that a program put there.
    Unwritten,
}

/// What is wrong with one value. The texts never repeat a value that could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub problem: String,
    pub remedy: String,
}

impl Wrong {
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// One fault of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub place: Place,
    /// Path of the setting, `section.name`; empty where the fault belongs to no setting.
    pub setting: String,
    pub wrong: Wrong,
}

/// All faults of a configuration, in the order of the file; the program ends with exit code 78.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the file, for the text.
    pub file: String,
    pub list: Vec<ConfigError>,
}

impl ConfigErrors {
    /// More faults than this are counted, not shown.
    pub const SHOWN_MAX: usize = 50;

    pub(super) fn sorted(file: &str, mut list: Vec<ConfigError>) -> Self {
        list.sort_by(|a, b| a.place.cmp(&b.place));
        Self { file: file.to_owned(), list }
    }
}

impl From<ConfigErrors> for crate::error::Stop {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(crate::error::Exit::Config, errors.to_string())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in self.list.iter().take(Self::SHOWN_MAX) {
            match &error.place {
                Place::File => write!(f, "{}: ", self.file)?,
                Place::Line(line) => write!(f, "{}:{line}: ", self.file)?,
                Place::Variable(name) => write!(f, "environment {name}: ")?,
                Place::Unwritten => {}
            }
            if !error.setting.is_empty() {
                write!(f, "{}: ", error.setting)?;
            }
            writeln!(f, "{}\n    {}", error.wrong.problem, error.wrong.remedy)?;
        }
        if self.list.len() > Self::SHOWN_MAX {
            writeln!(f, "and {} more", self.list.len() - Self::SHOWN_MAX)?;
        }
        let count = self.list.len();
        write!(f, "{count} {} in the configuration", if count == 1 { "fault" } else { "faults" })
    }
}

impl std::error::Error for ConfigErrors {}
