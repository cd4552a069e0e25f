//! Rows P1 to P15 of the fault matrix: the built daemon, a real Redis and the built-in exchange under signals, limits,
//! broken disks, stepped clocks, and fault points (`src/fault_points`). One test a row or more, named after it.

mod support;

#[path = "process_rows/common.rs"]
mod common;
#[path = "process_rows/manager.rs"]
mod manager;
#[path = "process_rows/p01_kill.rs"]
mod p01_kill;
#[path = "process_rows/p02_panic.rs"]
mod p02_panic;
#[path = "process_rows/p02_waiting_fills.rs"]
mod p02_waiting_fills;
#[path = "process_rows/p03_storm.rs"]
mod p03_storm;
#[path = "process_rows/p04_never.rs"]
mod p04_never;
#[path = "process_rows/p05_hang.rs"]
mod p05_hang;
#[path = "process_rows/p05_starved.rs"]
mod p05_starved;
#[path = "process_rows/p06_memory.rs"]
mod p06_memory;
#[path = "process_rows/p07_disk.rs"]
mod p07_disk;
#[path = "process_rows/p08_descriptors.rs"]
mod p08_descriptors;
#[path = "process_rows/p09_clock.rs"]
mod p09_clock;
#[path = "process_rows/p10_locale.rs"]
mod p10_locale;
#[path = "process_rows/p11_signals.rs"]
mod p11_signals;
#[path = "process_rows/p12_config.rs"]
mod p12_config;
#[path = "process_rows/p13_versions.rs"]
mod p13_versions;
#[path = "process_rows/p14_log.rs"]
mod p14_log;
#[path = "process_rows/p15_flood.rs"]
mod p15_flood;
#[path = "process_rows/release.rs"]
mod release;
