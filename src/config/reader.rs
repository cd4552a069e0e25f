//! Reads settings from a TOML tree and the environment, collecting every fault instead of stopping at the first.
//!
//! A section is declared once with [`section!`]: names, types, documentation, defaults and rules. From that come the
//! struct, the reader, the checks, the dump and `trapline.example.toml`.

use super::env::Env;
use super::errors::{ConfigError, Place, Wrong};
use super::suggest;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Environment variables with this prefix override settings: `TRAPLINE__REDIS__URL` is `redis.url`.
pub const ENV_PREFIX: &str = "TRAPLINE__";

/// One line of the description of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `section.name`; of a row in a list of tables `section.list[].name`.
    pub path: String,
    /// The value in TOML; `None` for a section.
    pub value: Option<String>,
    /// Documentation, one item a line.
    pub docs: &'static [&'static str],
}

/// A setting or a section of settings.
pub(super) trait Node: Sized {
    /// Reads itself over its default; what cannot be read stays at the default and becomes a fault.
    fn read(self, reader: &mut Reader<'_>, path: &str, found: Option<&Spanned<DeValue<'_>>>) -> Self;
    /// Holds the rules of everything inside.
    fn check(&self, path: &str, faults: &mut Faults);
    fn describe(&self, path: &str, docs: &'static [&'static str], out: &mut Vec<Described>);
}

/// A single value.
pub(super) trait Leaf: Sized {
    /// What is wanted, for people: "a whole number".
    fn wanted(path: &str) -> String;
    fn parse(value: &DeValue<'_>, path: &str) -> Result<Self, Wrong>;
    /// From an environment variable.
    fn parse_text(text: &str, path: &str) -> Result<Self, Wrong>;
    /// As TOML.
    fn show(&self) -> String;
}

impl<T: Leaf> Node for T {
    fn read(self, reader: &mut Reader<'_>, path: &str, found: Option<&Spanned<DeValue<'_>>>) -> Self {
        if let Some(found) = found {
            reader.faults.places.insert(path.to_owned(), reader.line(found));
        }
        let from_file = found.map(|found| T::parse(found.as_ref(), path));
        let name = env_name(path);
        let from_env = reader.env.given(&name).map(|text| T::parse_text(text, path));
        reader.known.insert(name.clone());
        if let Some(Err(wrong)) = from_file {
            reader.faults.report(path, wrong);
            return self;
        }
        match (from_env, from_file) {
            (Some(result), _) => {
                reader.faults.places.insert(path.to_owned(), Place::Variable(name));
                result.unwrap_or_else(|wrong| {
                    reader.faults.report(path, wrong);
                    self
                })
            }
            (None, Some(Ok(value))) => value,
            (None, _) => self,
        }
    }

    fn check(&self, _path: &str, _faults: &mut Faults) {}

    fn describe(&self, path: &str, docs: &'static [&'static str], out: &mut Vec<Described>) {
        out.push(Described { path: path.to_owned(), value: Some(self.show()), docs });
    }
}

/// Faults found so far, and where each setting was written.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) list: Vec<ConfigError>,
    places: BTreeMap<String, Place>,
}

impl Faults {
    /// Records what is wrong with `setting`; a setting is reported once, its first fault explains the others.
    pub(super) fn report(&mut self, setting: &str, wrong: Wrong) {
        if !self.list.iter().any(|error| error.setting == setting) {
            let place = self.places.get(setting).cloned().unwrap_or(Place::Unwritten);
            self.list.push(ConfigError { place, setting: setting.to_owned(), wrong });
        }
    }

    pub(super) fn report_at(&mut self, place: Place, setting: &str, wrong: Wrong) {
        self.list.push(ConfigError { place, setting: setting.to_owned(), wrong });
    }

    pub(super) fn hold(&mut self, path: &str, verdict: Result<(), Wrong>) {
        if let Err(wrong) = verdict {
            self.report(path, wrong);
        }
    }
}

/// The state of one reading.
pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) env: &'a Env,
    pub(super) faults: Faults,
    /// Environment names that mean a setting.
    known: BTreeSet<String>,
    /// Every setting's path, for hints that point into another section.
    paths: &'a [String],
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, env: &'a Env, paths: &'a [String]) -> Self {
        Self { text, env, faults: Faults::default(), known: BTreeSet::new(), paths }
    }

    pub(super) fn line<T>(&self, found: &Spanned<T>) -> Place {
        Place::Line(self.line_at(found.span().start))
    }

    pub(super) fn line_at(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }

    /// The table at `path`, its unknown names reported.
    pub(super) fn table<'t, 'i>(
        &mut self,
        path: &str,
        found: Option<&'t Spanned<DeValue<'i>>>,
        names: &[&str],
    ) -> Option<&'t DeTable<'i>> {
        let found = found?;
        self.faults.places.insert(path.to_owned(), self.line(found));
        let Some(table) = found.as_ref().as_table() else {
            let kind = found.as_ref().type_str();
            let wrong = Wrong::new(
                format!("is a section, but a {kind} stands here"),
                format!("write [{path}] on a line of its own"),
            );
            self.faults.report(path, wrong);
            return None;
        };
        self.unknown(path, table, names);
        Some(table)
    }

    pub(super) fn unknown(&mut self, path: &str, table: &DeTable<'_>, names: &[&str]) {
        for key in table.keys().filter(|key| !names.contains(&key.as_ref().as_ref())) {
            let name: String = key.as_ref().chars().filter(|c| !c.is_control()).take(48).collect();
            let place = self.line(key);
            let wrong = self.unknown_name(path, &name, names);
            self.faults.report_at(place, &join(path, &name), wrong);
        }
    }

    fn unknown_name(&self, path: &str, name: &str, names: &[&str]) -> Wrong {
        if looks_secret(path, name) {
            return Wrong::new(
                "a secret in the configuration file (its value is not repeated here)",
                "take it out and consider it known to others; put it into a file of mode 0600 named by the `…_file` \
                 setting, into $CREDENTIALS_DIRECTORY, or into the environment",
            );
        }
        let here = suggest::nearest(name, names.iter().copied());
        let elsewhere = || self.paths.iter().find(|known| known.rsplit('.').next() == Some(name));
        let remedy = match here {
            Some(near) => format!("did you mean `{near}`?"),
            None => match elsewhere() {
                Some(known) => format!("did you mean `{known}`? It belongs to another section"),
                None if path.is_empty() => format!("known here: {}", names.join(", ")),
                None => format!("known in [{path}]: {}", names.join(", ")),
            },
        };
        Wrong::new("no such setting", remedy)
    }

    /// Reports environment names with our prefix that mean nothing.
    pub(super) fn unknown_variables(&mut self) {
        let unknown: Vec<String> = self
            .env
            .names()
            .filter(|name| name.starts_with(ENV_PREFIX) && !self.known.contains(*name))
            .map(str::to_owned)
            .collect();
        for name in unknown {
            let remedy = match suggest::nearest(&name, self.known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "`trapline.example.toml` names every setting; SECTION and KEY are joined by two underscores"
                    .to_owned(),
            };
            self.faults.report_at(Place::Variable(name), "", Wrong::new("no such setting", remedy));
        }
    }
}

/// Whether a name that is not a setting was probably meant to hold a secret.
fn looks_secret(path: &str, name: &str) -> bool {
    const WORDS: [&str; 7] = ["secret", "passphrase", "password", "passwd", "token", "apikey", "privatekey"];
    let plain = name.to_ascii_lowercase().replace(['_', '-'], "");
    !plain.ends_with("file")
        && (WORDS.iter().any(|word| plain.contains(word)) || (path.ends_with("credentials") && plain == "key"))
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn env_name(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

pub(super) fn lookup<'t, 'i>(table: Option<&'t DeTable<'i>>, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table?.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value)
}

/// Declares a section: `name: type = default; rule`, each with its documentation. Fields after `with` are no
/// settings and start at their default.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $default:expr ; $rule:expr ),+ $(,)?
        }
        $( with { $( $(#[doc = $extra_doc:literal])+ $extra:ident : $extra_ty:ty ),+ $(,)? } )?
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
            $( $( $(#[doc = $extra_doc])+ pub $extra: $extra_ty, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ $( $( $extra: <$extra_ty>::default(), )+ )? }
            }
        }

        impl $crate::config::reader::Node for $name {
            fn read(
                self,
                reader: &mut $crate::config::reader::Reader<'_>,
                path: &str,
                found: Option<&::toml::Spanned<::toml::de::DeValue<'_>>>,
            ) -> Self {
                use $crate::config::reader::{Node, join, lookup};
                let table = reader.table(path, found, &[$(stringify!($field)),+]);
                Self {
                    $( $field: Node::read(
                        self.$field, reader, &join(path, stringify!($field)), lookup(table, stringify!($field)),
                    ), )+
                    $( $( $extra: self.$extra, )+ )?
                }
            }

            fn check(&self, path: &str, faults: &mut $crate::config::reader::Faults) {
                use $crate::config::reader::{Node, join};
                $(
                    let inner = join(path, stringify!($field));
                    faults.hold(&inner, ($rule)(&self.$field));
                    Node::check(&self.$field, &inner, faults);
                )+
            }

            fn describe(
                &self,
                path: &str,
                _docs: &'static [&'static str],
                out: &mut Vec<$crate::config::reader::Described>,
            ) {
                use $crate::config::reader::{Described, Node, join};
                out.push(Described { path: path.to_owned(), value: None, docs: &[$($section_doc),+] });
                $( Node::describe(&self.$field, &join(path, stringify!($field)), &[$($doc),+], out); )+
            }
        }
    };
}
pub(super) use section;
