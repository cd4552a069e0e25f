//! The tables below the promises.

use super::{ROWS, Row, Rows, cell, number, or_dash, plain, spans, told_more};
use std::fmt::Write as _;

/// Rows in which what was noticed is not told apart fault by fault.
const UNTOLD: [&str; 1] = ["P16"];

pub fn write(rows: &Rows, text: &mut String) {
    matrix(rows, text);
    redis(rows, text);
    totals(rows, text);
    days(rows, text);
    cost(rows, text);
    mutants(rows, text);
    baseline(rows, text);
    others(rows, text);
}

fn matrix(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## The matrix\n\nX: the exchange and the network. P: the process. R: Redis.\n\n\
         | row | fault | injected | detected | survived | escalated | detection | recovery | events | lost / twice / disorder | others |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, fault) in ROWS {
        let Some(row) = rows.get(name) else {
            let _ = writeln!(
                text,
                "| {name} | {fault} | not measured: its test published no figure in this run | | | | | | | | |"
            );
            continue;
        };
        let detected = row.told_count("detected").filter(|_| !UNTOLD.contains(&name));
        let detected = detected.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let others = row.others().map_or_else(|| "–".to_owned(), number);
        let [injected, survived, escalated, events] =
            ["injected", "survived", "escalated", "events"].map(|what| row.count(what));
        let _ = writeln!(
            text,
            "| {name} | {fault} | {injected} | {detected} | {survived} | {escalated} | {} | {} | {events} | {} | {others} |",
            spans(&row.detection()),
            spans(&row.recovery()),
            wrong(row),
        );
    }
    text.push_str(
        "\nDetected: by a counter or a record of the journal; – where the faults of a mix are not told apart, of which each has a\n\
         row of its own. Others: what the other rooms got done during the fault, over before it.\n\n\
         Survived and escalated need not add up to injected: an escalation is one orderly end, whatever it took to get there. In\n\
         P3 every death of a storm is injected, and the storm as a whole ends the process once, with 70; in P5 several threads\n\
         that hang beside each other end it once, with 72. In R19 the daemon that is fenced ends as designed, with 75, and the\n\
         row survives it.\n",
    );
    let told: Vec<_> = ROWS.iter().filter_map(|(name, _)| Some((*name, rows.get(*name)?))).collect();
    let told: Vec<_> = told
        .into_iter()
        .filter(|(name, _)| *name != "P16")
        .map(|(n, row)| (n, told_more(row, &["first_write_ms"])))
        .collect();
    if told.iter().any(|(_, more)| !more.is_empty()) {
        text.push_str("\n### More of these rows\n\n");
        for (name, more) in told.iter().filter(|(_, more)| !more.is_empty()) {
            let _ = writeln!(text, "- **{name}** {more}");
        }
    }
}

fn wrong(row: &Row) -> String {
    ["lost", "duplicated", "reordered"].map(|what| row.count(what).to_string()).join(" / ")
}

/// Redis's rows by what a reader of Redis waits for.
fn redis(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## Redis, row by row\n\n\
         | row | fault | detected | first write | all state | events in question | events lost |\n|---|---|---|---|---|---|---|\n",
    );
    for (name, fault) in ROWS.iter().filter(|(name, _)| name.starts_with('R')) {
        let Some(row) = rows.get(*name) else {
            let _ = writeln!(text, "| {name} | {fault} | not measured in this run | | | | |");
            continue;
        };
        let (first, all) = (row.numbers("first_write_ms"), row.recovery());
        let mark = if first.is_empty() && !all.is_empty() { " *" } else { "" };
        let _ = writeln!(
            text,
            "| {name} | {fault} | {} | {} | {}{mark} | {} | {} |",
            spans(&row.detection()),
            spans(&first),
            spans(&all),
            row.count("events"),
            row.count("lost"),
        );
    }
    text.push_str(
        "\nDetected: from the fault to the daemon's saying so. First write and all state: from when Redis takes writes again\n\
         (R3: from the fault) to the first value accepted since, and to every key of state.\n\
         \\* The row waits for what its fault took away, a key or a right or a connection, and tells no first write apart.\n",
    );
}

/// Runs that mix faults by a seed; what is beside them for comparison is no part of the sum.
fn totals(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## Chaos, in total\n\n| | runs | seeds | faults | events | lost | twice | out of order |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut sum = [0; 6];
    for name in ["P16", "storm", "chaos", "P1"] {
        let Some(row) = rows.get(name) else {
            let _ = writeln!(text, "| {name} | not measured in this run | | | | | | |");
            continue;
        };
        let counts = totals_line(text, &format!("{name}: {}", row.faults().first().unwrap_or(&"")), row);
        sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    let [runs, faults, events, lost, twice, disorder] = sum;
    let _ = writeln!(text, "| **all** | {runs} | | {faults} | {events} | {lost} | {twice} | {disorder} |");
    if let Some(row) = rows.get("chaos-usual-way") {
        let name = format!("for comparison: {}", row.faults().first().unwrap_or(&""));
        totals_line(text, &name, row);
    }
    text.push('\n');
    for name in ["storm", "chaos", "chaos-usual-way"] {
        if let Some(row) = rows.get(name) {
            let _ = writeln!(text, "- **{name}** {}", or_dash(told_more(row, &["seed", "seeds"])));
        }
    }
}

fn totals_line(text: &mut String, name: &str, row: &Row) -> [u64; 6] {
    let [faults, events, lost, twice, disorder] =
        ["injected", "events", "lost", "duplicated", "reordered"].map(|what| row.count(what));
    let runs = row.runs();
    let _ = writeln!(
        text,
        "| {} | {runs} | {} | {faults} | {events} | {lost} | {twice} | {disorder} |",
        cell(name),
        row.seeds()
    );
    [runs, faults, events, lost, twice, disorder]
}

/// Every run of the random day.
fn days(rows: &Rows, text: &mut String) {
    let Some(row) = rows.get("P16") else { return };
    let columns = [
        ("seed", "seed"),
        ("span s", "s"),
        ("starts of the daemon", "starts"),
        ("comparisons with the exchange", "comparisons"),
        ("reads of the state", "reads"),
        ("state regressions", "went back"),
        ("secrets found", "secrets"),
        ("fills told late by REST", "fills by REST"),
        ("latest stale mark, ms after its limit", "latest stale mark, ms"),
        ("RSS max MiB", "MiB at most"),
        ("own memory slope KiB/h", "own memory, KiB/h"),
        ("error of the slope KiB/h", "± of it"),
        ("fds max", "descriptors"),
        ("threads max", "threads"),
    ];
    let titles: Vec<&str> = columns.iter().map(|(_, title)| *title).collect();
    text.push_str("\n### Each random day (P16)\n\n");
    let _ = writeln!(text, "| {} | faults | events | lost / twice / disorder |", titles.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len() + 3));
    for line in &row.lines {
        let told = columns.map(|(name, _)| match &line["more"][name] {
            serde_json::Value::Null => "–".to_owned(),
            value => plain(value),
        });
        let [faults, events, lost, twice, disorder] =
            ["injected", "events", "lost", "duplicated", "reordered"].map(|what| plain(&line[what]));
        let _ = writeln!(text, "| {} | {faults} | {events} | {lost} / {twice} / {disorder} |", told.join(" | "));
    }
    text.push('\n');
    for line in &row.lines {
        let (seed, more) = (plain(&line["more"]["seed"]), &line["more"]);
        let _ = writeln!(text, "- seed {seed}, messages between rooms: {}", plain(&more["messages"]));
        let _ = writeln!(text, "- seed {seed}, injected: {}", plain(&more["injected by kind"]));
    }
}

/// What the guarantees cost while nothing is broken.
fn cost(rows: &Rows, text: &mut String) {
    text.push_str("\n## What the guarantees cost\n\n");
    let Some(row) = rows.get("redis-cost") else {
        text.push_str("Not measured in this run.\n");
        return;
    };
    let told = |name: &str| row.numbers(name).last().copied();
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    text.push_str(
        "| state writes | writes/s | of those without | Redis' processor per write, µs | of that without |\n|---|---|---|---|---|\n",
    );
    let at = |way: &str| {
        let (rate, cpu) = (format!("state_writes_per_s_{way}"), format!("redis_cpu_us_per_write_{way}"));
        (told(&rate), told(&cpu))
    };
    let bare = at("without_guard");
    for (title, way) in [
        ("without a guard", "without_guard"),
        ("the connection is guarded (ours)", "guarded_connection"),
        ("a script guards each write", "guarded_by_script"),
    ] {
        let (rate, cpu) = at(way);
        let ratio = |a: Option<f64>, b: Option<f64>| shown(a.zip(b).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b));
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} |",
            shown(rate),
            ratio(rate, bare.0),
            shown(cpu),
            ratio(cpu, bare.1)
        );
    }
    text.push_str("\n| events on disk | |\n|---|---|\n");
    for (title, name) in [
        ("commits/s, one event each", "spool_commits_per_s_one_event_each"),
        ("a commit, p50 ms", "spool_commit_p50_ms"),
        ("a commit, p99 ms", "spool_commit_p99_ms"),
        ("events/s, as they come in a burst", "spool_events_per_s_grouped"),
        ("disk per million events, MiB", "disk_mib_per_million_events"),
    ] {
        let _ = writeln!(text, "| {title} | {} |", shown(told(name)));
    }
    let _ = writeln!(
        text,
        "| events written | {} |",
        row.lines.last().map_or(0, |line| line["events"].as_u64().unwrap_or(0))
    );
}

/// Safeguards switched off, each with the test that has to notice; of several tries the newest.
fn mutants(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## Safeguards switched off\n\n`scripts/mutants`: each is switched off in a copy of the tree, and the test named for it has to fail.\n\n\
         | name | switched off | test | turned red | date |\n|---|---|---|---|---|\n",
    );
    let Some(row) = rows.get("mutant") else {
        text.push_str("| not measured in this run | | | | |\n");
        return;
    };
    let mut newest = std::collections::BTreeMap::new();
    for line in &row.lines {
        newest.insert(plain(&line["more"]["name"]), line);
    }
    let mut red = 0;
    for (name, line) in &newest {
        let killed = match line["more"]["result"].as_str() {
            Some("killed") => "yes".to_owned(),
            Some("SURVIVED") => "**no**".to_owned(),
            other => format!("**not tried: {}**", other.unwrap_or("?")),
        };
        red += u64::from(killed == "yes");
        let (what, test, date) = (plain(&line["fault"]), plain(&line["more"]["test"]), plain(&line["more"]["date"]));
        let _ = writeln!(text, "| {name} | {what} | `{test}` | {killed} | {date} |");
    }
    let _ = writeln!(text, "\n{red} of {} were noticed.", newest.len());
}

fn baseline(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## The same faults on plain actix\n\n`actix::Supervisor` as it comes, against the rooms of this crate; each case in a process of its own.\n\n\
         | fault | | sent | handled | set aside | refused | lost | restarts | longest queue | process |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut any = false;
    for row in rows.iter().filter(|(name, _)| name.starts_with("baseline")).map(|(_, row)| row) {
        any = true;
        let Some(line) = row.lines.last() else { continue };
        for (world, title) in [("plain", "plain actix"), ("trapline", "trapline")] {
            let told = &line["more"][world];
            let shown = |field: &str| told[field].as_u64().map_or_else(|| "–".to_owned(), |n| n.to_string());
            let process = if told["aborted"] == true { "**aborted**" } else { "lived" };
            let fault = if world == "plain" { plain(&line["fault"]) } else { String::new() };
            let cells = ["sent", "handled", "quarantined", "refused", "lost", "restarts", "waiting at most"]
                .map(shown)
                .join(" | ");
            let _ = writeln!(text, "| {fault} | {title} | {cells} | {process} |");
        }
    }
    if !any {
        text.push_str("| not measured in this run | | | | | | | | | |\n");
    }
}

/// Rows that are neither in the matrix nor shown above.
fn others(rows: &Rows, text: &mut String) {
    let shown = ["storm", "chaos", "chaos-usual-way", "redis-cost", "mutant"];
    let known =
        |name: &str| ROWS.iter().any(|(row, _)| *row == name) || name.starts_with("baseline") || shown.contains(&name);
    let rest: Vec<_> = rows.iter().filter(|(name, _)| !known(name)).collect();
    if rest.is_empty() {
        return;
    }
    text.push_str("\n## Other figures\n\n");
    for (name, row) in rest {
        let mut parts = Vec::new();
        for (title, list) in [("detection", row.detection()), ("recovery", row.recovery())] {
            if !list.is_empty() {
                parts.push(format!("{title} {} ms ({} times)", spans(&list), list.len()));
            }
        }
        parts.extend(row.others().map(|ratio| format!("others {}", number(ratio))));
        let more = told_more(row, &[]);
        parts.extend((!more.is_empty()).then_some(more));
        let _ = writeln!(text, "- **{name}**, {}: {}", row.faults().join("; "), parts.join("; "));
    }
}
