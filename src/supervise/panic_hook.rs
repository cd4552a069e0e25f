//! Catches panics with their place and backtrace, for code that runs inside a shell.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::frames::Frames;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static NOTE: RefCell<Option<PanicNote>> = const { RefCell::new(None) };
}

/// What is known of one panic.
#[derive(Clone, Debug, Default)]
pub(crate) struct PanicNote {
    pub(crate) text: String,
    /// `file:line:column`.
    pub(crate) location: Option<String>,
    /// Captured, not yet named: that is the journal thread's work.
    pub(crate) backtrace: Option<Frames>,
}

/// Panics inside [`catch`] are kept for the crash report; all others go to the hook that was there before.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // `try_with`: a panic may come while the thread's locals are being torn down.
            if !INSIDE.try_with(Cell::get).unwrap_or(false) {
                return before(info);
            }
            let note = PanicNote {
                text: payload_text(info.payload()),
                location: info.location().map(ToString::to_string),
                backtrace: Some(Frames::capture()),
            };
            let _ = NOTE.try_with(|slot| slot.replace(Some(note)));
        }));
    });
}

/// Reads the program's symbols now, once. The first backtrace that becomes text does it else, and a panic meanwhile waits
/// for it: there is one lock for all of the process' backtraces. And a program that was replaced on disk is not found
/// any more.
pub(crate) fn load_symbols() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(Frames::capture().named()));
}

/// Runs `f`; a panic comes back as a note. Whoever calls throws away what `f` was changing.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, PanicNote> {
    let outer = INSIDE.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    INSIDE.set(outer);
    result.map_err(|payload| {
        let note = NOTE.take().unwrap_or_else(|| PanicNote { text: payload_text(&*payload), ..PanicNote::default() });
        // A payload is any value: its own drop may panic too.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        NOTE.take();
        note
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => cut(text, 512).to_owned(),
        (None, Some(text)) => cut(text, 512).to_owned(),
        (None, None) => "panic without a text".to_owned(),
    }
}

/// At most `max` bytes, cut between characters: `String::truncate` would panic inside the crash path.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_with_text_and_place() {
        install();
        let note = catch(|| panic!("broken {}", 7)).expect_err("it panicked");
        assert_eq!(note.text, "broken 7");
        assert!(note.location.expect("the hook saw it").contains("panic_hook.rs"));
        assert!(note.backtrace.is_some());
        assert_eq!(catch(|| 5).expect("no panic"), 5);
    }

    #[test]
    fn a_payload_that_panics_in_its_drop_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("drop of the payload");
            }
        }
        install();
        assert!(catch(|| panic::panic_any(Bomb)).is_err());
        assert_eq!(catch(|| panic!("next")).expect_err("it panicked").text, "next");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let cases = [
            ("fits", "abc", 3, "abc"),
            ("cut", "abcd", 3, "abc"),
            ("inside a letter", "aäb", 2, "a"),
            ("nothing", "ä", 1, ""),
        ];
        for (name, text, max, expected) in cases {
            assert_eq!(cut(text, max), expected, "case: {name}");
        }
    }
}
