//! What a fault test saw, as one JSON line in the folder `$TRAPLINE_FIGURES`: `scripts/faults` makes docs/faults.md
//! of these lines. Without the variable the line goes to standard error only.

use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// One fault class as one run of its test saw it.
#[derive(Serialize, Default)]
pub struct Figures {
    /// `R3`, `X12`, `P5`; or another short name for what is not a row of the fault matrix.
    pub row: &'static str,
    /// The fault in a few words.
    pub fault: &'static str,
    pub injected: u64,
    /// How many were noticed, by a counter or a journal record.
    pub detected: u64,
    pub survived: u64,
    /// Ended in an orderly exit, where the design says so.
    pub escalated: u64,
    /// From the injection to the first sign of it, ms, one per fault.
    pub detection_ms: Vec<f64>,
    /// From the end of the fault (or its detection, where it does not end by itself) to the first right value, ms.
    pub recovery_ms: Vec<f64>,
    /// Messages or events in question.
    pub events: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// What the other rooms got done per second during the fault, over the same before it.
    pub others_ratio: Option<f64>,
    /// Anything else worth publishing, by name with its unit.
    pub more: BTreeMap<&'static str, serde_json::Value>,
}

impl Figures {
    /// Appends the line; panics if the folder was named and cannot be written.
    pub fn publish(&self) {
        let line = serde_json::to_string(self).expect("figures are JSON");
        eprintln!("figures: {line}");
        if let Some(folder) = std::env::var_os("TRAPLINE_FIGURES") {
            std::fs::create_dir_all(&folder).expect("the folder for figures");
            let path = std::path::Path::new(&folder).join(format!("{}.jsonl", self.row));
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file of figures");
            file.write_all(format!("{line}\n").as_bytes()).expect("a line of figures");
        }
    }
}
