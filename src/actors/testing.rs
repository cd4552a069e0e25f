//! One room of ours in a tree of its own, with an ear in the writer's place.

use super::writer::{self, WriterMsg};
use crate::clock::Clock;
use crate::supervise::{
    Budgets, Card, Command, Cx, Factory, Fault, GroupId, Message, Port, Room, RoomState, Running, Strategy, Tree,
    TreeConfig,
};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Hands on all that is to be written.
struct Ear(Sender<WriterMsg>);

impl Room for Ear {
    type Msg = WriterMsg;

    fn handle(&mut self, msg: &WriterMsg, _cx: &mut Cx<Self>) -> Result<(), Fault> {
        let _ = self.0.send(msg.clone());
        Ok(())
    }
}

pub(super) struct House<M: Message> {
    name: &'static str,
    port: Port<M>,
    heard: Receiver<WriterMsg>,
    group: GroupId,
    running: Running,
}

impl<M: Message> House<M> {
    /// `fails` says of an epoch that its birth panics, after the factory has made the room.
    pub(super) fn open<R: Room<Msg = M>>(
        clock: Clock,
        card: Card,
        fails: impl Fn(u64) -> bool + Send + Sync + 'static,
        make: impl FnOnce(Port<WriterMsg>) -> Factory<R>,
    ) -> Self {
        let (said, heard) = channel();
        let mut tree = Tree::new(TreeConfig::new(clock, 1));
        let group = tree.group("all", Strategy::OneForOne, Budgets::default());
        let (to_writer, port) = (tree.port(&writer::CARD), tree.port(&card));
        let ear: Factory<Ear> = Arc::new(move |_, _| Ok(Ear(said.clone())));
        tree.room(group, writer::CARD, to_writer.clone(), ear);
        let factory = make(to_writer);
        let failing: Factory<R> = Arc::new(move |birth, cx| {
            let epoch = birth.epoch;
            let room = factory(birth, cx)?;
            assert!(!fails(epoch), "in the factory of epoch {epoch}");
            Ok(room)
        });
        let name = card.name;
        tree.room(group, card, port.clone(), failing);
        Self { name, port, heard, group, running: tree.start() }
    }

    pub(super) async fn send(&self, msg: M) {
        assert!(self.port.send(msg).await.is_ok(), "{} takes it", self.name);
    }

    /// Until all that was sent is handled and incarnation `epoch` is at work.
    pub(super) async fn until_idle(&self, epoch: u64) {
        let begun = Instant::now();
        loop {
            let rooms = self.running.observe();
            let room = rooms.iter().find(|room| room.name == self.name).expect("the room");
            let up = matches!(room.state, RoomState::Running) && room.epoch >= epoch;
            if up && room.depth == 0 && room.in_hand == 0 {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{room:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// It panics between two messages.
    pub(super) fn panic(&self) {
        self.running.command(Command::Panic, self.name, "test", "its successor is asked").expect("taken");
    }

    /// What was written, in order. Ordered: what was sent is handled before the rooms end.
    pub(super) async fn close(self) -> Vec<WriterMsg> {
        self.running.stop(&[self.group], PATIENCE).await;
        self.heard.try_iter().collect()
    }
}
