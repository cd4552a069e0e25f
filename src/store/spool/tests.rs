use super::*;
use crate::domain::event::Event;
use crate::store::encode::event::{Record, record, tests as events};
use crate::store::ids::{Ids, REMEMBERED, print};
use std::path::Path;
use std::time::Instant;

fn settings(folder: &Path) -> SpoolSettings {
    SpoolSettings { file: Some(folder.join("spool.redb")), ..SpoolSettings::default() }
}

fn stored(seq: u64) -> Stored {
    let trap = events::trap(&format!("{seq:016x}"), 0, 1_000 * seq as i64);
    let record = record(&events::layout(), &Event::Trap(trap), seq, 1_000 * seq as i64);
    Stored { seq, ms: record.ms, id: record.id.clone(), bytes: record.to_bytes().into() }
}

fn wait(what: &str, mut met: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn append(spool: &Spool, seqs: std::ops::RangeInclusive<u64>) {
    let last = *seqs.end();
    for seq in seqs {
        spool.append(stored(seq)).unwrap();
    }
    wait("safe", || spool.safe() == last);
}

fn read(spool: &Spool, first: u64, count: usize) -> Vec<u64> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    assert!(spool.order(Order::Read { first, count, bytes: usize::MAX, reply }));
    answer.blocking_recv().unwrap().into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn what_was_safe_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, found) = Spool::open(settings(folder.path()), 50);
    assert_eq!((found.generation, found.last_seq), (50, 0));
    append(&spool, 1..=100);
    assert!(spool.is_durable());
    drop(spool);
    wait("file is free", || inspect(&folder.path().join("spool.redb"), |_| {}).is_ok());
    let (spool, found) = Spool::open(settings(folder.path()), 60);
    assert_eq!((found.generation, found.last_seq, found.last_ms, found.ids.len()), (50, 100, 100_000, 100));
    assert!(found.ids.contains(&print(&format!("trap:{:016x}", 1))));
    assert_eq!(read(&spool, 98, 10), [98, 99, 100]);
    assert_eq!(spool.first(), 1);
}

/// A start asks the exchange for the fills of a whole day, which may be more than a process remembers of its own.
#[test]
fn a_start_knows_every_event_that_the_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _) = disk::Disk::open(&settings(folder.path()), 50);
    let held = REMEMBERED as u64 + 1_000;
    let stored = |seq: u64| {
        let id = format!("fill:{seq}");
        let record = Record { v: 1, seq, ms: seq as i64, id: id.clone(), kind: "fill".to_owned(), ops: vec![] };
        Stored { seq, ms: record.ms, id, bytes: record.to_bytes().into() }
    };
    disk.unwrap().append(&(1..=held).map(stored).collect::<Vec<_>>()).unwrap();
    let (_, found) = disk::Disk::open(&settings(folder.path()), 60);
    let mut ids = Ids::of(found.ids);
    assert!(!(1..=held).any(|seq| ids.is_new(&format!("fill:{seq}"))));
    assert!(ids.is_new("fill:one more"));
}

#[test]
fn a_file_that_is_no_spool_is_set_aside() {
    for (name, bytes) in [("noise", &b"this is no database at all, but long enough to look at"[..]), ("empty", b"")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool.redb");
        std::fs::write(&file, bytes).unwrap();
        let (spool, found) = Spool::open(settings(folder.path()), 70);
        append(&spool, 1..=3);
        assert!(spool.is_durable(), "case: {name}");
        if name == "noise" {
            let aside = found.set_aside.expect("the old file is kept");
            assert_eq!(std::fs::read(aside).unwrap(), bytes);
            assert_eq!(found.generation, 70);
        }
    }
}

#[test]
fn a_refusing_disk_makes_it_volatile_and_a_willing_one_durable_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(settings(folder.path()), 80);
    append(&spool, 1..=5);
    spool.set_failing(true);
    append(&spool, 6..=10);
    wait("announced", || !spool.is_durable());
    assert_eq!(read(&spool, 8, 10), [8, 9, 10], "published from memory");
    spool.set_failing(false);
    wait("recovered", || spool.is_durable());
    assert_eq!(read(&spool, 1, 20), (1..=10).collect::<Vec<_>>());
    drop(spool);
    let file = folder.path().join("spool.redb");
    wait("all on disk", || inspect(&file, |_| {}).is_ok_and(|c| c.last == 10 && c.missing.is_empty()));
}

#[test]
fn the_tail_is_bounded_in_age_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _) = disk::Disk::open(&settings(folder.path()), 90);
    let disk = disk.unwrap();
    let records: Vec<Stored> = (1..=100).map(stored).collect();
    disk.append(&records).unwrap();
    disk.trim(50, 80_000, u64::MAX).unwrap();
    assert_eq!(disk.extent().0, 51, "applied and old goes, the rest stays");
    disk.trim(100, 80_000, u64::MAX).unwrap();
    assert_eq!(disk.extent().0, 80);
    disk.trim(0, 0, 8 * 1_024).unwrap();
    assert!(disk.extent().1 <= 8 * 1_024, "bytes are a hard bound: {:?}", disk.extent());
    assert_eq!(disk.read(1, 1_000, usize::MAX).last().unwrap().0, 100, "the newest stays");
}

#[test]
fn without_a_file_it_works_and_says_that_it_is_volatile() {
    let (spool, found) = Spool::open(SpoolSettings::default(), 5);
    append(&spool, 1..=3);
    assert!(!spool.is_durable());
    assert_eq!(found.generation, 5);
    assert_eq!(read(&spool, 2, 5), [2, 3]);
}

/// Whatever happened to the file's bytes, the daemon starts: with what is readable, or with a new file beside the old.
#[test]
fn no_damage_keeps_it_from_starting() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.redb");
    let (disk, _) = disk::Disk::open(&settings(folder.path()), 50);
    disk.unwrap().append(&(1..=300).map(stored).collect::<Vec<_>>()).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let (mut kept, mut set_aside) = (0, 0);
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = whole.clone();
        if seed % 3 == 0 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        } else {
            for _ in 0..rng.random_range(1..2_000) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
        }
        for old in std::fs::read_dir(folder.path()).unwrap().flatten() {
            std::fs::remove_file(old.path()).unwrap();
        }
        std::fs::write(&file, &bytes).unwrap();
        let (spool, found) = Spool::open(settings(folder.path()), 60);
        let last = found.last_seq;
        match &found.set_aside {
            Some(aside) => {
                set_aside += 1;
                assert_eq!((last, found.generation), (0, 60), "seed {seed}: a new one");
                assert!(aside.exists(), "seed {seed}: the old one is kept");
            }
            None => kept += 1,
        }
        // It works: what is told now is safe, in memory if the file refuses on.
        append(&spool, last + 1..=last + 3);
        let readable = read(&spool, last + 1, 10);
        assert_eq!(readable, (last + 1..=last + 3).collect::<Vec<_>>(), "seed {seed}");
    }
    assert!(set_aside > 0, "some damage is found: {kept} kept, {set_aside} set aside");
}

/// What this process alone holds in memory, MiB.
fn anonymous_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1_024
}

/// The file may have 256 MiB and more; the process stays small. Measured in a process of its own.
#[test]
fn a_large_spool_stays_on_disk() {
    const NAME: &str = "store::spool::tests::a_large_spool_stays_on_disk";
    const ALONE: &str = "TRAPLINE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let done = command.args(["--exact", NAME, "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(settings(folder.path()), 50);
    let bytes: Arc<[u8]> = vec![b'x'; 64 * 1_024].into();
    let record = |seq: u64| Stored { seq, ms: seq as i64, id: seq.to_string(), bytes: Arc::clone(&bytes) };
    spool.append(record(1)).unwrap();
    wait("safe", || spool.safe() == 1);
    let before = anonymous_mib();
    // 96 MiB, and read once, as after a long outage of Redis.
    for seq in 2..=1_536 {
        spool.append(record(seq)).unwrap();
    }
    wait("safe", || spool.safe() == 1_536);
    for first in (1..1_536).step_by(16) {
        assert_eq!(read(&spool, first, 16).len(), 16);
    }
    let grown = anonymous_mib().saturating_sub(before);
    assert!(grown < 32, "{grown} MiB more");
}
