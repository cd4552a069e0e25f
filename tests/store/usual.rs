//! The usual way to write into Redis, as a yardstick: a pipeline, its reply, then the offset into a file of one's own;
//! state by plain HSET; on an error a new connection and the same batch again.

use crate::chaos::{Party, offset_file};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Shared {
    /// Events that wait, in order.
    waiting: Mutex<Vec<u64>>,
    price: AtomicU64,
    priced: AtomicU64,
    offset: AtomicU64,
    over: AtomicBool,
}

pub struct Usual {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn connect(url: &str) -> redis::RedisResult<redis::Connection> {
    let limit = Duration::from_millis(200);
    let link = redis::Client::open(url)?.get_connection_with_timeout(limit)?;
    link.set_read_timeout(Some(limit))?;
    link.set_write_timeout(Some(limit))?;
    Ok(link)
}

fn work(shared: &Shared, url: &str, file: &Path) {
    let mut link = None;
    while !shared.over.load(SeqCst) {
        let batch: Vec<u64> = shared.waiting.lock().expect("not poisoned").iter().copied().take(64).collect();
        let price = shared.price.load(SeqCst);
        if batch.is_empty() && shared.priced.load(SeqCst) == price {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if link.is_none() {
            link = connect(url).ok();
        }
        let Some(open) = &mut link else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut pipe = redis::pipe();
        for n in &batch {
            pipe.cmd("XADD").arg("trapline:BTCUSDT:events").arg("*").arg("id").arg(format!("{n:016x}")).ignore();
        }
        let key = "trapline:BTCUSDT:market_state";
        let time = 1_700_000_000_000_u64 + price;
        pipe.cmd("HSET").arg(key).arg("seq").arg(price).arg("exchange_time").arg(time).ignore();
        if pipe.query::<()>(open).is_err() {
            link = None;
            continue;
        }
        if shared.over.load(SeqCst) {
            return;
        }
        shared.priced.store(price, SeqCst);
        shared.waiting.lock().expect("not poisoned").retain(|n| !batch.contains(n));
        if let Some(last) = batch.last() {
            std::fs::write(file, last.to_string()).expect("the offset is kept");
            shared.offset.store(*last, SeqCst);
        }
    }
}

impl Party for Usual {
    fn start(socket: &Path, folder: &Path, _seed: u64) -> Self {
        let (url, file) = (format!("unix:{}", socket.display()), offset_file(folder));
        let shared = Arc::new(Shared::default());
        let offset = std::fs::read_to_string(&file).ok().and_then(|t| t.parse().ok()).unwrap_or(0);
        shared.offset.store(offset, SeqCst);
        let worker = Arc::clone(&shared);
        let thread = Some(std::thread::spawn(move || work(&worker, &url, &file)));
        Self { shared, thread }
    }

    fn event(&self, n: u64) {
        self.shared.waiting.lock().expect("not poisoned").push(n);
    }

    fn price(&self, n: u64) {
        self.shared.price.store(n, SeqCst);
    }

    fn remembered(&self) -> u64 {
        self.shared.offset.load(SeqCst)
    }

    fn crash(self) {
        drop(self);
    }

    fn settle(&self, last: u64) {
        crate::bench::wait_for("all is written, as far as it knows", || {
            self.shared.offset.load(SeqCst) >= last && self.shared.priced.load(SeqCst) == self.shared.price.load(SeqCst)
        });
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
