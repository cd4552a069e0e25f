//! One record of the journal as one sentence for people.

use crate::supervise::journal::JournalEntry;

/// What a record says, without its time.
pub fn tell(entry: &JournalEntry) -> String {
    let text = |name: &str| entry.text(name);
    let number = |name: &str| entry.number(name);
    let ms = |name: &str| span(number(name) * 1_000);
    match entry.event.as_str() {
        "boot" => format!(
            "trapline {} started (pid {}, boot {}), {} rooms",
            text("version"),
            number("pid"),
            entry.boot,
            number("rooms")
        ),
        "ready" => format!("{} ready in {}", text("room"), span(number("birth_us"))),
        "down" => down(entry),
        "restarted" => {
            format!(
                "{} ready again after {} ({}), incarnation {}",
                text("room"),
                span(number("recovery_us")),
                text("cause"),
                number("epoch")
            )
        }
        "recovered" => format!(
            "{} handled a message again ({}), {} after it went down",
            text("room"),
            text("kind"),
            span(number("handled_us"))
        ),
        "repeated" => format!(
            "{} died {} more times the same way ({}), restarted {} times, at most {} each",
            text("room"),
            number("deaths"),
            text("cause"),
            number("restarts"),
            span(number("recovery_us_max"))
        ),
        "escalate" => format!(
            "{} escalated because of {}: {}; next try in {}",
            text("group"),
            text("room"),
            text("why"),
            ms("delay_ms")
        ),
        "ended" => format!("{} ended for good ({})", text("room"), text("cause")),
        "quarantined" => format!(
            "{}: message {} {} put into quarantine as {}: {}",
            text("room"),
            text("kind"),
            number("seq"),
            number("id"),
            text("cause")
        ),
        "hang_suspect" => {
            format!("{} slow: {} {} in hand for {}", text("room"), text("kind"), number("seq"), ms("busy_ms"))
        }
        "amnesty" => format!("the watchdog itself came {} late: nobody judged by that time", ms("late_ms")),
        "starved" => format!(
            "{} silent for {}, but its thread waited for a processor for {} and ran for {}: not judged",
            text("room"),
            ms("silent_ms"),
            ms("waited_ms"),
            ms("ran_ms")
        ),
        "zombie_ended" => {
            format!("{}: the abandoned thread of incarnation {} came back", text("room"), number("epoch"))
        }
        "overflow_begin" => format!("{}: mailbox of {} full ({})", text("room"), number("capacity"), text("policy")),
        "overflow_end" => format!(
            "{}: mailbox has space again after {}, {} messages found it full",
            text("room"),
            ms("ms"),
            number("count")
        ),
        "operator" => {
            let asked = format!("{}: {}, by {}", text("room"), text("command"), text("who"));
            let why = if text("why").is_empty() { String::new() } else { format!(": {}", text("why")) };
            let refused =
                if text("refused").is_empty() { String::new() } else { format!("; refused: {}", text("refused")) };
            asked + &why + &refused
        }
        "drain" => format!("{} drains", text("group")),
        "stopped" => format!("{} stopped, {} messages left", text("group"), number("undelivered")),
        "journal_gap" => format!("{} records of the {} lane were lost here", number("lost"), text("lane")),
        "exit" => {
            let code = entry.fields.get("code").and_then(serde_json::Value::as_i64).unwrap_or(0);
            format!("trapline ended with {code}: {}", text("reason"))
        }
        "key_stale" => format!("{} stale ({}), last proved {} before", text("key"), text("reason"), ms("age_ms")),
        "key_fresh" => format!("{} fresh again after {}", text("key"), ms("stale_ms")),
        "trouble" if entry.fields.get("over").and_then(serde_json::Value::as_bool) == Some(true) => {
            format!("{} is over", text("problem"))
        }
        "trouble" => format!("{}: {}", text("problem"), text("text")),
        "refused" => format!(
            "refused: {} {}: {} ({} of this kind so far)",
            text("reason"),
            text("kind"),
            text("detail"),
            number("total")
        ),
        other => other.to_owned(),
    }
}

fn down(entry: &JournalEntry) -> String {
    let (text, number) = (|name: &str| entry.text(name), |name: &str| entry.number(name));
    let mut told = format!("{} down: {}", text("room"), text("cause"));
    let mut add = |part: String| told.push_str(&part);
    if !text("text").is_empty() {
        add(format!(" {:?}", text("text")));
    }
    if !text("location").is_empty() {
        add(format!(" at {}", text("location")));
    }
    match (text("message_kind"), number("message_seq")) {
        ("", _) => {}
        (step, 0) => add(format!(", in its step {step}")),
        (kind, seq) => add(format!(", with {kind} {seq} in hand")),
    }
    if !text("message_fate").is_empty() {
        add(format!(" ({})", text("message_fate")));
    }
    if !text("thread_state").is_empty() {
        add(format!(", thread {}", text("thread_state")));
    }
    add(format!(
        "; up {}, {} handled, {} waiting; {}",
        span(number("uptime_ms") * 1_000),
        number("handled"),
        number("depth"),
        text("decision")
    ));
    if number("delay_ms") > 0 {
        add(format!(" in {}", span(number("delay_ms") * 1_000)));
    }
    add(format!(" [{}]", text("fingerprint")));
    told
}

/// A span with the unit that fits.
pub fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        60_000_000..3_600_000_000 => two((us / 60_000_000, "min"), (us / 1_000_000 % 60, "s")),
        3_600_000_000..172_800_000_000 => two((us / 3_600_000_000, "h"), (us / 60_000_000 % 60, "min")),
        _ => two((us / 86_400_000_000, "d"), (us / 3_600_000_000 % 24, "h")),
    }
}

fn two((large, of_large): (u64, &str), (small, of_small): (u64, &str)) -> String {
    if small == 0 { format!("{large} {of_large}") } else { format!("{large} {of_large} {small} {of_small}") }
}
