//! The log: lines on standard error, written by a thread of its own. A room never waits for a slow terminal or a full
//! pipe: when the queue is full the line is dropped, and how many were is said in the log and in the metrics.

use crate::config::{Log, LogFormat, LogLevel};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// Lines that wait for the writer thread.
const QUEUE_LINES: usize = 1_024;
/// A longer line is cut, so that the queue has a bound in bytes, too.
const LINE_MAX: usize = 8_192;
/// How long the end of the program waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

enum Order {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// The counter of the process's own log.
static OWN: OnceLock<Arc<AtomicU64>> = OnceLock::new();

/// Lines of the process's own log that were lost because nobody read them.
pub fn dropped_total() -> u64 {
    OWN.get().map_or(0, |dropped| dropped.load(Ordering::Relaxed))
}

/// Counts lost lines, and waits for the last ones when it is dropped: keep it until the program ends.
#[derive(Debug)]
pub struct LogHandle {
    orders: Sender<Order>,
    dropped: Arc<AtomicU64>,
    filter: reload::Handle<Targets, Registry>,
}

impl LogHandle {
    /// Lines lost because the reader of the log was too slow.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The counter behind [`LogHandle::dropped_total`], for the metrics.
    pub fn dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Changes the least level from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the log itself is gone.
        let _ = self.filter.reload(targets(level));
    }

    /// Waits until what was logged so far is written, half a second at most.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.orders.send_timeout(Order::Flush(done), FLUSH_WAIT).is_ok() {
            _ = wait.recv_timeout(FLUSH_WAIT);
        }
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Makes standard error the log of this process. Colour only on a terminal, and not where `NO_COLOR` is set.
///
/// # Errors
/// If the process has a log already.
pub fn init(settings: &Log) -> Result<LogHandle, SetGlobalDefaultError> {
    let stderr = std::io::stderr();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (subscriber, handle) = build(settings, stderr.is_terminal() && !no_color, stderr);
    let _ = OWN.set(handle.dropped_counter());
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(handle)
}

/// As [`init`], onto any `sink` and without making it the process's own.
pub fn build(
    settings: &Log,
    color: bool,
    sink: impl Write + Send + 'static,
) -> (Box<dyn Subscriber + Send + Sync>, LogHandle) {
    let (orders, queue) = bounded(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines { orders: orders.clone(), dropped: Arc::clone(&dropped) };
    let format = settings.format;
    let thread_dropped = Arc::clone(&dropped);
    let spawned = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&queue, sink, &thread_dropped, format));
    if let Err(error) = spawned {
        // Without the thread every line counts as dropped; the daemon itself goes on.
        _ = writeln!(std::io::stderr(), "the log has no thread to write it: {error}");
    }
    let (layered, filter) = reload::Layer::new(targets(settings.level));
    let registry = tracing_subscriber::registry().with(layered);
    let layer = tracing_subscriber::fmt::layer().with_writer(lines);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => Box::new(registry.with(layer.with_ansi(color).with_target(false))),
        LogFormat::Json => Box::new(registry.with(layer.json().flatten_event(true))),
    };
    (subscriber, LogHandle { orders, dropped, filter })
}

/// Libraries may log what they send at fine levels, a login among it: of them only warnings and errors are shown.
fn targets(least: LogLevel) -> Targets {
    let level = level(least);
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("trapline", level)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn write_lines(queue: &Receiver<Order>, mut sink: impl Write, dropped: &AtomicU64, format: LogFormat) {
    let mut told = 0;
    while let Ok(order) = queue.recv() {
        // A sink that fails (closed pipe, full disk) must not end the thread: later lines may get through.
        match order {
            Order::Line(line) => _ = sink.write_all(&line),
            Order::Flush(done) => {
                _ = sink.flush();
                _ = done.try_send(());
            }
        }
        let total = dropped.load(Ordering::Relaxed);
        if total > told && queue.len() < QUEUE_LINES / 2 {
            _ = match format {
                LogFormat::Json => {
                    writeln!(sink, r#"{{"level":"WARN","message":"log lines dropped","total":{total}}}"#)
                }
                LogFormat::Text => writeln!(sink, "WARN log lines dropped total={total}"),
            };
            told = total;
        }
    }
    _ = sink.flush();
}

#[derive(Clone)]
struct Lines {
    orders: Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::new(), lines: self.clone() }
    }
}

/// One line being put together; sent when complete.
struct Line {
    text: Vec<u8>,
    lines: Lines,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = LINE_MAX.saturating_sub(self.text.len()).min(bytes.len());
        self.text.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return;
        }
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.orders.try_send(Order::Line(text))
        {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing::{debug, info, warn};

    /// Keeps what is written; holds its writer while `gate` is locked.
    #[derive(Clone, Default)]
    struct Sink {
        text: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            drop(self.gate.lock().expect("gate"));
            self.text.lock().expect("text").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.text.lock().expect("text")).into_owned()
        }
    }

    fn logged(settings: &Log, color: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let (subscriber, handle) = build(settings, color, sink.clone());
        tracing::subscriber::with_default(subscriber, log);
        handle.flush();
        sink.text()
    }

    #[test]
    fn lines_are_text_without_colour_or_json_by_choice() {
        let text = logged(&Log::default(), false, || warn!(reason = "silent", age_ms = 7, "feed lost"));
        assert!(text.contains("WARN") && text.contains("feed lost") && text.contains("age_ms=7"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(logged(&Log::default(), true, || warn!("feed lost")).contains('\u{1b}'));
        let settings = Log { format: LogFormat::Json, ..Log::default() };
        let json = logged(&settings, false, || warn!(reason = "silent", "feed lost"));
        let line: serde_json::Value = serde_json::from_str(&json).expect("one JSON object");
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("WARN"), Some("feed lost")));
        assert_eq!(line["reason"], "silent");
    }

    #[test]
    fn our_level_is_as_set_and_libraries_are_heard_from_warning_on() {
        let settings = Log { level: LogLevel::Debug, ..Log::default() };
        let text = logged(&settings, false, || {
            debug!(target: "trapline::actors::feed", "ours");
            info!(target: "tungstenite::protocol", "login frame");
            warn!(target: "redis", "library warning");
        });
        assert!(text.contains("ours") && text.contains("library warning") && !text.contains("login frame"), "{text}");
        let settings = Log { level: LogLevel::Error, ..Log::default() };
        assert_eq!(logged(&settings, false, || warn!("quiet")), "");
    }

    #[test]
    fn a_stuck_reader_costs_lines_that_are_counted_and_never_holds_up_the_writer() {
        let sink = Sink::default();
        let (subscriber, handle) = build(&Log::default(), false, sink.clone());
        let stuck = sink.gate.lock().expect("gate");
        let lines = 3 * QUEUE_LINES as u64;
        // Would never come back if a line waited for the sink, which is locked by this very thread.
        tracing::subscriber::with_default(subscriber, || (0..lines).for_each(|i| info!(i, "tick")));
        let dropped = handle.dropped_total();
        assert!(dropped >= lines - QUEUE_LINES as u64 - 1 && dropped < lines, "{dropped} of {lines}");
        drop(stuck);
        handle.flush();
        let text = sink.text();
        assert_eq!(text.lines().filter(|line| line.contains("tick")).count() as u64, lines - dropped);
        assert!(text.contains(&format!("log lines dropped total={dropped}")), "{text}");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let text = logged(&Log::default(), false, || info!(detail = "x".repeat(100_000), "long"));
        assert!(text.len() <= LINE_MAX + 1 && text.ends_with('\n'), "{}", text.len());
    }
}
