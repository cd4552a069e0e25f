//! Lists of tables (`[[section.list]]`), and how a configuration is written down.

use super::errors::Wrong;
use super::reader::{Described, Faults, Node, Reader};
use super::sections::Strategy;
use std::fmt::Write;
use toml::Spanned;
use toml::de::DeValue;

impl Node for Vec<Strategy> {
    fn read(self, reader: &mut Reader<'_>, path: &str, found: Option<&Spanned<DeValue<'_>>>) -> Self {
        let Some(found) = found else { return self };
        let Some(array) = found.as_ref().as_array() else {
            let place = reader.line(found);
            let wrong = Wrong::new("is a list of tables", format!("write [[{path}]] above each row"));
            reader.faults.report_at(place, path, wrong);
            return self;
        };
        array
            .iter()
            .enumerate()
            .map(|(i, row)| Strategy::default().read(reader, &format!("{path}[{i}]"), Some(row)))
            .collect()
    }

    fn check(&self, path: &str, faults: &mut Faults) {
        for (i, row) in self.iter().enumerate() {
            let row_path = format!("{path}[{i}]");
            row.check(&row_path, faults);
            if self[..i].iter().any(|earlier| earlier == row) {
                faults.report(&row_path, Wrong::new("stands twice", "take one of the two rows out"));
            }
        }
    }

    fn describe(&self, path: &str, _docs: &'static [&'static str], out: &mut Vec<Described>) {
        if self.is_empty() {
            Strategy::default().describe(&format!("{path}[]"), &[], out);
        }
        for (i, row) in self.iter().enumerate() {
            row.describe(&format!("{path}[{i}]"), &[], out);
        }
    }
}

/// Writes settings as TOML, with their documentation if `documented`. Rows of an empty list are written as a comment,
/// and only with documentation.
pub(super) fn render(lines: &[Described], documented: bool) -> String {
    let mut out = String::new();
    for line in lines {
        let sample = line.path.contains("[]");
        if sample && !documented {
            continue;
        }
        let mark = if sample { "# " } else { "" };
        match &line.value {
            None => {
                if !line.path.is_empty() {
                    out.push('\n');
                }
                comment(&mut out, line.docs, documented);
                match line.path.split_once('[') {
                    Some((list, _)) => _ = writeln!(out, "{mark}[[{list}]]"),
                    None if line.path.is_empty() => {}
                    None => _ = writeln!(out, "[{}]", line.path),
                }
            }
            Some(value) => {
                if line.path.matches('.').count() == 0 {
                    out.push('\n');
                }
                comment(&mut out, line.docs, documented);
                let name = line.path.rsplit('.').next().unwrap_or_default();
                _ = writeln!(out, "{mark}{name} = {value}");
            }
        }
    }
    out
}

fn comment(out: &mut String, docs: &[&str], documented: bool) {
    if documented {
        for doc in docs {
            _ = writeln!(out, "#{doc}");
        }
    }
}
