//! The writer as a room: it dies, hangs and is replaced, and Redis still ends at what was accepted.

use crate::bench::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trapline::actors::writer::{CARD, RedisWriter, WriterMsg};
use trapline::clock::Clock;
use trapline::domain::event::Event;
use trapline::domain::symbol::Symbols;
use trapline::store::board::Board;
use trapline::store::desk::Desk;
use trapline::store::encode::{Layout, Settings};
use trapline::store::engine::EngineSettings;
use trapline::store::link::Target;
use trapline::store::spool::SpoolSettings;
use trapline::supervise::{Budgets, Card, Command, Port, Strategy, Tree, TreeConfig};

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn send(port: &Port<WriterMsg>, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        port.send(WriterMsg::Market(vec![picture(seq)])).await.expect("taken");
        port.send(WriterMsg::Event(vec![Event::Trap(trap(seq))])).await.expect("taken");
    }
}

#[actix_rt::test]
async fn deaths_and_hangs_lose_nothing_and_the_last_word_is_stale() {
    if skip() {
        return;
    }
    for conflate in [true, false] {
        let server = Server::start(&[]);
        let symbols = Arc::new(Symbols::usdt(["BTCUSDT"]));
        let board = Board::new(1);
        let spool = SpoolSettings { file: Some(server.folder().join("spool.redb")), ..SpoolSettings::default() };
        let layout = Layout::new(symbols, Settings::default());
        let desk = Desk::open(layout, Arc::clone(&board), conflate, spool, Clock::system());
        let settings = EngineSettings::new(Target::unix(server.socket()));
        let mut tree = Tree::new(TreeConfig { on_exit: Arc::new(|_| {}), ..TreeConfig::new(Clock::system(), 3) });
        let group = tree.group("sinks", Strategy::OneForOne, Budgets::default());
        let card = Card { deadline: Duration::from_millis(400), ..CARD };
        let port = tree.port(&card);
        tree.room(group, card, port.clone(), RedisWriter::factory(Arc::clone(&desk), settings));
        let running = tree.start();

        send(&port, 1..=50).await;
        until("the first are written", || board.market(BTC).read().written_seq >= 50).await;
        running.command(Command::Panic, "redis_writer", "test", "drill").expect("taken");
        send(&port, 51..=100).await;
        until("after a panic", || board.market(BTC).read().written_seq >= 100).await;
        running.command(Command::Hang(1_500), "redis_writer", "test", "drill").expect("taken");
        send(&port, 101..=150).await;
        until("after a hang", || board.market(BTC).read().written_seq >= 150 && desk.outbox().is_settled()).await;

        assert!(running.stop(&[group], Duration::from_secs(10)).await.is_empty());
        assert_exactly_once(&server, 150, &format!("conflate {conflate}"));
        for (field, value) in [("seq", "150"), ("stale", "1"), ("stale_reason", "stopped")] {
            assert_eq!(server.field("trapline:BTCUSDT:market_state", field).as_deref(), Some(value));
        }
        assert!(board.epoch() > 0);
    }
}
