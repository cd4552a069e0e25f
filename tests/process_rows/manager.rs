//! A service manager's ear: a real datagram socket.

use crate::support::wait_for;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A service manager's socket: what arrived, and when.
pub struct Manager {
    socket: UnixDatagram,
    pub path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Manager {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("tl-sd-").tempdir().expect("folder");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        Self { socket, path, _dir: dir }
    }

    /// Everything that arrives within `span`.
    pub fn listen(&self, span: Duration) -> Vec<String> {
        let until = Instant::now() + span;
        let mut heard = Vec::new();
        let mut buffer = [0; 4_096];
        while Instant::now() < until {
            if let Ok(n) = self.socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
        }
        heard
    }

    pub fn fed(&self, span: Duration) -> usize {
        self.listen(span).iter().filter(|text| text.contains("WATCHDOG=1")).count()
    }

    pub fn wait_for(&self, what: &str) {
        wait_for(what, || {
            let text = self.listen(Duration::from_millis(200)).join("|");
            if text.contains(what) { Ok(()) } else { Err(text) }
        });
    }
}
