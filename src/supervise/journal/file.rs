//! A file of lines that stays below a size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::fault_points;

/// Appends lines; at `max_bytes` the file is renamed to `.1`, `.1` to `.2` and so on, `keep` old ones in all.
pub(crate) struct LineFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    max_bytes: u64,
    keep: u32,
}

impl LineFile {
    pub(crate) const fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self { path, file: None, bytes: 0, max_bytes, keep }
    }

    /// One `write` for the whole line, so that a reader never sees half of two. After an error the file is opened
    /// anew the next time.
    pub(crate) fn append(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        if self.bytes.saturating_add(line.len() as u64) > self.max_bytes && self.bytes > 0 {
            self.rotate()?;
        }
        let thing = self.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        fault_points::torn(thing, &self.path, line);
        let result = fault_points::io(thing, "write").and_then(|()| self.open()).and_then(|file| {
            file.write_all(line)?;
            if sync { file.sync_data() } else { Ok(()) }
        });
        match result {
            Ok(()) => self.bytes += line.len() as u64,
            Err(_) => self.file = None,
        }
        result
    }

    fn open(&mut self) -> io::Result<&mut File> {
        // Somebody deleted it: what is written to it now nobody will ever read.
        if self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|known| known.nlink() == 0)) {
            self.file = None;
        }
        if self.file.is_none() {
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(&self.path)?;
            self.bytes = file.metadata()?.len();
            if self.bytes > 0 && !ends_with_newline(&self.path)? {
                // A torn last line of a killed predecessor must not swallow the first of ours.
                file.write_all(b"\n")?;
                self.bytes += 1;
            }
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("file was just opened"))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for n in (1..self.keep).rev() {
            let from = numbered(&self.path, n);
            if from.exists() {
                std::fs::rename(from, numbered(&self.path, n + 1))?;
            }
        }
        let renamed = std::fs::rename(&self.path, numbered(&self.path, 1));
        if renamed.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            return renamed;
        }
        self.bytes = 0;
        Ok(())
    }
}

pub(crate) fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
