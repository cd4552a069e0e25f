//! What really happened, by the exchange's own account of it: its truth log, read as it is written.

use crate::eyes::lock;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Fills in their order, and every size that a position ever had.
#[derive(Default)]
pub struct Truth {
    /// Trade id → its place in the order of all fills.
    pub fills: FxHashMap<String, u64>,
    /// By symbol and side.
    pub sizes: BTreeMap<(String, String), FxHashSet<String>>,
    /// Deeds of the script that could not be done.
    pub refused: u64,
}

pub type Book = Arc<Mutex<Truth>>;

/// Makes the pipe that the exchange writes its truth log into, and reads it until the exchange ends. A log of this
/// size would fill the disk in a long day; the fills alone are kept beside it.
pub fn listen(folder: &Path) -> (PathBuf, Book, JoinHandle<()>) {
    let path = folder.join("truth");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|s| s.success()), "mkfifo {}", path.display());
    let book = Book::default();
    let (read, kept, shared) = (path.clone(), folder.join("fills"), Arc::clone(&book));
    let thread = std::thread::spawn(move || {
        let pipe = BufReader::new(std::fs::File::open(read).expect("the truth log"));
        let mut kept = std::io::BufWriter::new(std::fs::File::create(kept).expect("the list of fills"));
        for line in pipe.lines().map_while(Result::ok) {
            take(&line, &shared, &mut kept);
        }
    });
    (path, book, thread)
}

fn take(line: &str, book: &Book, kept: &mut impl Write) {
    let is = |kind: &str| line.contains(&format!("\"kind\":\"{kind}\""));
    let (fill, position, refused) = (is("fill"), is("position"), is("refused"));
    if !fill && !position && !refused {
        return;
    }
    let Ok(row) = serde_json::from_str::<Value>(line) else { return };
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let mut truth = lock(book);
    if fill {
        let place = truth.fills.len() as u64;
        let _ = writeln!(kept, "{} {} {}", row["at_ms"], text("symbol"), text("trade_id"));
        truth.fills.insert(text("trade_id"), place);
    } else if position {
        let sizes = truth.sizes.entry((text("symbol"), text("side"))).or_default();
        if sizes.len() < 100_000 {
            sizes.insert(text("size"));
        }
    } else {
        truth.refused += 1;
    }
}
