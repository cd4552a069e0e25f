//! The page of faults says what the figures say: nothing left out, nothing better than it was.

// The page is made by a program of its own, random_day.
#[path = "../random_day/measure.rs"]
#[allow(dead_code, reason = "only how a slope is told is tried here")]
mod measure;
#[path = "../random_day/quantile.rs"]
mod quantile;
#[path = "../random_day/render/mod.rs"]
mod render;

use serde_json::{Value, json};

/// A line as the tests publish it, with what matters here.
fn line(row: &str, given: &Value) -> Value {
    let mut line = json!({
        "row": row, "fault": format!("fault of {row}"), "injected": 1, "detected": 1, "survived": 1, "escalated": 0,
        "detection_ms": [], "recovery_ms": [], "events": 0, "lost": 0, "duplicated": 0, "reordered": 0,
        "others_ratio": null, "more": {},
    });
    for (name, value) in given.as_object().expect("named figures") {
        line[name] = value.clone();
    }
    line
}

fn page(lines: &[Value]) -> String {
    let folder = tempfile::tempdir().expect("folder");
    for line in lines {
        use std::io::Write as _;
        let file = folder.path().join(format!("{}.jsonl", line["row"].as_str().expect("a name")));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("a file");
        writeln!(file, "{line}").expect("written");
    }
    render::page(folder.path(), "Machine: this one.")
}

/// The line of a table or list that begins so.
fn row<'a>(page: &'a str, begin: &str) -> &'a str {
    page.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no line {begin:?} in\n{page}"))
}

/// The same, below a heading.
fn below<'a>(page: &'a str, heading: &str, begin: &str) -> &'a str {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading:?} in\n{page}"));
    row(rest, begin)
}

fn day(seed: u64, events: u64, lost: u64, more: &Value) -> Value {
    let mut all = json!({
        "seed": seed, "state regressions": 0, "secrets found": 0, "RSS max MiB": 40.5, "messages": "9 = 9 handled",
        "injected by kind": {"room panic": 3},
    });
    for (name, value) in more.as_object().expect("named figures") {
        all[name] = value.clone();
    }
    line("P16", &json!({"injected": 30, "detected": 30, "events": events, "lost": lost, "more": all}))
}

#[test]
fn events_count_as_safe_only_if_one_run_had_enough_of_them() {
    let begin = "| events lost / twice / out of order";
    let none = json!({});
    // (case, runs, what the line has to say)
    let cases = [
        (
            "one large run among small ones",
            vec![day(1, 100_000, 0, &none), day(2, 34_000, 0, &none)],
            "0 / 0 / 0 in 100000 events of the largest run, 134000 of all 2 | yes |",
        ),
        (
            "large only together",
            vec![day(1, 99_999, 0, &none), day(2, 99_999, 0, &none)],
            "0 / 0 / 0 in 99999 events of the largest run, 199998 of all 2 | **no** |",
        ),
        (
            "one lost in the small run",
            vec![day(1, 100_000, 0, &none), day(2, 34_000, 1, &none)],
            "1 / 0 / 0 in 100000 events of the largest run, 134000 of all 2 | **no** |",
        ),
    ];
    for (case, lines, said) in cases {
        let page = page(&lines);
        assert!(row(&page, begin).ends_with(said), "{case}: {}", row(&page, begin));
    }
    assert!(row(&page(&[]), begin).ends_with("| not measured: no line of `P16` |"));
}

#[test]
fn memory_is_judged_by_its_worst_run_and_its_slope_only_over_an_hour() {
    let slope = |kib: f64, error: f64, hours: f64, max: f64| {
        let of = ["own memory slope KiB/h", "error of the slope KiB/h", "hours the slope was seen over", "RSS max MiB"];
        let more: serde_json::Map<_, _> =
            of.map(str::to_owned).into_iter().zip([kib, error, hours, max].map(Value::from)).collect();
        day(1, 10, 0, &Value::Object(more))
    };
    let leaks = line("leaks", &json!({"more": {"RSS KiB per death": 0.6, "RSS MiB": 54.4, "threads more": 0.0}}));
    // The worse run is not the newest.
    let page_of = |kib, error, hours| page(&[slope(kib, error, hours, 64.0), day(2, 10, 0, &json!({})), leaks.clone()]);
    let steep = page_of(128.0, 32.0, 1.5);
    assert!(row(&steep, "| resident at most in the random day").ends_with("| 64 | **no** |"));
    assert!(row(&steep, "| memory per day").ends_with("| 3 ± 1.5 MiB, seen over 1.5 h | **no** |"), "{steep}");
    let flat = page_of(128.0, 64.0, 1.5);
    assert!(row(&flat, "| memory per day").ends_with("| 3 ± 3 MiB, seen over 1.5 h | yes |"), "{flat}");
    let short = page_of(1.0, 1.0, 0.5);
    assert!(
        row(&short, "| memory per day").contains("not judged: seen over 0.5 h, an hour of long lives is wanted"),
        "{short}"
    );
    assert!(row(&short, "| memory per death").ends_with("| 0.6 | yes |"));
    assert!(row(&short, "| resident after many deaths").ends_with("| 54.4 | yes |"));
    assert!(row(&short, "| threads left behind").ends_with("| 0 | yes |"));
    assert!(row(&short, "| descriptors left behind").ends_with("| – | not measured |"));
}

/// A slope is told from noise; and what fills up once, before all that is bounded has been full, is none.
#[test]
fn a_slope_is_found_behind_the_noise_and_filling_up_is_none() {
    use measure::{Look, Looks};
    let looks = |steep_kib: f64, events: fn(u64) -> u64| {
        let mut looks = Looks::default();
        for s in 0..7_200_u64 {
            // Rises fast at first; noise of 2 MiB that returns within minutes.
            let filling = 20_000.0 * (s as f64 / 900.0).min(1.0);
            let noise = 1_024.0 * (s as f64 / 97.0).sin() + 1_024.0 * ((s / 60 * 7_919 % 101) as f64 / 50.5 - 1.0);
            // Ever more of the program's own file is read.
            let file_kib = 10_000.0 + s as f64;
            let rss_kib = 30_000.0 + file_kib + filling + noise + steep_kib * s as f64 / 3_600.0;
            let (age_s, events) = (s as f64, events(s));
            looks.add(Some(Look { pid: 1, age_s, events, rss_kib, file_kib, fds: 1.0, threads: 1.0 }));
        }
        looks.slope(Look::own_kib)
    };
    let flat = looks(0.0, |s| s * 100).expect("long enough");
    assert!(flat.per_hour.abs() <= 2.0 * flat.error && flat.error < 1_024.0 && flat.hours > 1.6, "{flat:?}");
    let steep = looks(5_000.0, |s| s * 100).expect("long enough");
    assert!((steep.per_hour - 5_000.0).abs() <= 2.0 * steep.error && steep.error < 1_024.0, "{steep:?}");
    assert!(looks(0.0, |_| 99_999).is_none(), "not everything has been full");
}

#[test]
fn what_the_others_got_done_is_shown_at_its_worst() {
    let ratio = |ratio: f64| line("siblings-panic", &json!({"others_ratio": ratio}));
    let page = page(&[ratio(0.89), ratio(0.997)]);
    assert!(row(&page, "| others while rooms panic").ends_with("| 0.89 | **no** |"));
    assert_eq!(row(&page, "- **siblings-panic**"), "- **siblings-panic**, fault of siblings-panic: others 0.89");
}

#[test]
fn every_random_day_stands_in_the_page_and_what_it_noticed_is_not_made_up() {
    let page = page(&[
        day(1, 100_000, 0, &json!({"threads max": 16.0})),
        day(2, 34_000, 0, &json!({"threads max": 17.0})),
        line("storm", &json!({"injected": 7, "events": 500, "more": {"seed": 3}})),
        line("chaos", &json!({"injected": 9, "events": 600, "more": {"seeds": "1 to 10"}})),
        line("P1", &json!({"injected": 20, "events": 40, "more": {"seed": 11}})),
        line("chaos-usual-way", &json!({"injected": 4, "events": 800, "lost": 5, "duplicated": 6})),
    ]);
    assert!(row(&page, "| P16 |").starts_with("| P16 | all faults mixed by a seed | 60 | – | 2 | 0 |"), "{page}");
    for (seed, threads, events) in [(1, 16, 100_000), (2, 17, 34_000)] {
        let line = below(&page, "### Each random day", &format!("| {seed} |"));
        assert!(line.ends_with(&format!("| {threads} | 30 | {events} | 0 / 0 / 0 |")), "{line}");
        row(&page, &format!("- seed {seed}, messages between rooms: 9 = 9 handled"));
        row(&page, &format!("- seed {seed}, injected: room panic 3"));
    }
    let totals = "## Chaos, in total";
    assert_eq!(below(&page, totals, "| P16"), "| P16: fault of P16 | 2 | 1, 2 | 60 | 134000 | 0 | 0 | 0 |");
    assert!(below(&page, totals, "| chaos:").contains("| 1 | 1 to 10 | 9 | 600 |"));
    assert!(below(&page, totals, "| P1:").contains("| 1 | 11 | 20 | 40 |"));
    // What is there for comparison loses; it is no part of the sum.
    assert_eq!(below(&page, totals, "| **all**"), "| **all** | 5 | | 96 | 135140 | 0 | 0 | 0 |");
    assert!(below(&page, totals, "| for comparison").ends_with("| 4 | 800 | 5 | 6 | 0 |"));
}

#[test]
fn what_a_row_of_redis_took_is_shown_of_all_its_runs() {
    let outage = |first: &[f64], all: &[f64], events: u64| {
        let more = json!({"first_write_ms": first});
        line("R1", &json!({"detection_ms": [6.0], "recovery_ms": all, "events": events, "more": more}))
    };
    let page = page(&[
        outage(&[10.0, 30.0], &[40.0, 50.0], 20),
        outage(&[20.0], &[60.0], 5),
        line("R9", &json!({"recovery_ms": [9960.0], "events": 5, "lost": 2})),
    ]);
    let heading = "## Redis, row by row";
    let said = "| 6 / 6 / 6 | 20 / 30 / 30 | 50 / 60 / 60 | 25 | 0 |";
    assert!(below(&page, heading, "| R1 |").ends_with(said), "{}", below(&page, heading, "| R1 |"));
    assert!(below(&page, heading, "| R9 |").ends_with("| – | – | 9960 / 9960 / 9960 * | 5 | 2 |"));
    assert!(below(&page, heading, "| R20 |").contains("not measured"));
    assert!(row(&page, "Survived and escalated need not").contains("orderly end"));
}

#[test]
fn the_cost_is_shown_beside_what_it_would_be_without_the_guard() {
    let more = json!({
        "state_writes_per_s_without_guard": 50_000.0, "redis_cpu_us_per_write_without_guard": 8.0,
        "state_writes_per_s_guarded_connection": 49_000.0, "redis_cpu_us_per_write_guarded_connection": 8.0,
        "state_writes_per_s_guarded_by_script": 20_000.0, "redis_cpu_us_per_write_guarded_by_script": 16.0,
        "spool_commits_per_s_one_event_each": 223.0, "spool_commit_p99_ms": 10.1, "disk_mib_per_million_events": 300.0,
    });
    let page = page(&[line("redis-cost", &json!({"events": 201_500, "more": more}))]);
    for said in [
        "| without a guard | 50000 | 1 | 8 | 1 |",
        "| the connection is guarded (ours) | 49000 | 0.98 | 8 | 1 |",
        "| a script guards each write | 20000 | 0.4 | 16 | 2 |",
        "| commits/s, one event each | 223 |",
        "| a commit, p50 ms | – |",
        "| a commit, p99 ms | 10.1 |",
        "| disk per million events, MiB | 300 |",
        "| events written | 201500 |",
    ] {
        assert_eq!(row(&page, said), said);
    }
}

#[test]
fn a_safeguard_whose_test_stayed_green_stands_out() {
    let tried = |name: &str, result: &str, date: &str| {
        let more = json!({"name": name, "test": "--lib a::b", "result": result, "date": date, "took_s": 3});
        line("mutant", &json!({"fault": format!("no {name}"), "more": more}))
    };
    let page = page(&[
        tried("fence", "SURVIVED", "2026-01-01"),
        tried("fence", "killed", "2026-01-02"),
        tried("spool", "SURVIVED", "2026-01-02"),
        tried("guard", "no test", "2026-01-02"),
    ]);
    for said in [
        "| fence | no fence | `--lib a::b` | yes | 2026-01-02 |",
        "| guard | no guard | `--lib a::b` | **not tried: no test** | 2026-01-02 |",
        "| spool | no spool | `--lib a::b` | **no** | 2026-01-02 |",
        "1 of 3 were noticed.",
    ] {
        assert_eq!(row(&page, said), said);
    }
}

#[test]
fn a_figure_that_cannot_be_read_is_not_left_out() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("R1.jsonl"), "{\"row\":\"R1\"").expect("written");
    let torn = std::panic::catch_unwind(|| render::page(folder.path(), ""));
    assert!(torn.is_err(), "a torn line is told");
}
