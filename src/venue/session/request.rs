//! What a client says and what becomes of it: login, subscribe, unsubscribe, ping, and the limits on all of them.

use super::replies::{Reject, Voice};
use super::topics::{self, Listing};
use super::{Door, login};
use crate::domain::symbol::Product;
use crate::venue::config::Generation;
use crate::venue::core::{Core, Shared};
use crate::venue::faults::FaultName;
use crate::venue::firehose::Hose;
use crate::venue::hub::{ClientId, Feed, Topic};
use crate::venue::outbox::End;
use crate::venue::owners::OwnerId;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One client's side of the protocol.
pub struct Conversation {
    shared: Arc<Shared>,
    id: ClientId,
    door: Door,
    connection: String,
    /// Whose account it is logged in to.
    owner: Option<OwnerId>,
    /// Times of the newest messages, for the limit per second.
    messages: VecDeque<Instant>,
    /// Times of subscribe requests of the last hour.
    subscribes: VecDeque<Instant>,
    hose: Option<Arc<Hose>>,
}

struct Listed<'a>(&'a Core);

impl Listing for Listed<'_> {
    fn find(&self, generation: Generation, name: &str) -> Option<(usize, Product)> {
        let plain = if generation == Generation::V3 { name.strip_suffix("_CM").unwrap_or(name) } else { name };
        let symbol = *self.0.by_name.get(plain)?;
        let instrument = &self.0.state(symbol).instrument;
        (instrument.wire_name(generation) == name).then_some((symbol, instrument.product))
    }
}

impl Conversation {
    pub fn new(shared: Arc<Shared>, id: ClientId, door: Door, hose: Option<Arc<Hose>>) -> Self {
        // Looks like the real ones: an opaque word that differs per connection.
        let connection = format!("{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ shared.config.seed);
        Self {
            shared,
            id,
            door,
            connection,
            owner: None,
            messages: VecDeque::new(),
            subscribes: VecDeque::new(),
            hose: hose.filter(|_| !door.private),
        }
    }

    fn voice(&self, core: &mut Core) -> Voice {
        Voice {
            generation: self.door.generation,
            connection: self.connection.clone(),
            codes_as_text: self.turn(core, FaultName::CodeAsString, None),
        }
    }

    /// Whether a fault has its turn here: by its scope, its symbol (that of the argument) and its `every`.
    fn turn(&self, core: &mut Core, name: FaultName, arg: Option<&Value>) -> bool {
        let symbol = arg.and_then(|arg| arg.get("instId").or_else(|| arg.get("symbol"))).and_then(Value::as_str);
        let symbol = symbol.map(str::to_uppercase);
        core.faults.turn(name, symbol.as_deref(), self.door.private).is_some()
    }

    fn end(&self, core: &Core, end: End) {
        if let Some(client) = core.hub.clients.get(&self.id) {
            client.outbox.end(end);
        }
    }

    /// A binary message, or text that is no request.
    pub fn unrecognised(&self) {
        let shared = Arc::clone(&self.shared);
        let mut core = shared.core();
        self.refuse(&mut core, &Reject::Unrecognised, None, None);
    }

    fn refuse(&self, core: &mut Core, reject: &Reject, arg: Option<&Value>, op: Option<&str>) {
        let text = self.voice(core).error(reject, arg, op);
        core.hub.tell(self.id, &text);
    }

    /// One text message.
    pub fn text(&mut self, text: &str) {
        let shared = Arc::clone(&self.shared);
        let mut core = shared.core();
        let limits = shared.config.limits;
        if over(&mut self.messages, limits.messages_per_second, Duration::from_secs(1)) {
            core.hub.met.messages += 1;
            self.refuse(&mut core, &Reject::TooMany, None, None);
            self.end(&core, End::FlushThenAbrupt);
            return;
        }
        if text == "ping" {
            if !self.turn(&mut core, FaultName::DropPong, None) {
                core.hub.tell(self.id, "pong");
            }
            return;
        }
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return self.refuse(&mut core, &Reject::Unrecognised, None, None);
        };
        let op = request["op"].as_str().unwrap_or_default();
        let no_args = Vec::new();
        let args = request["args"].as_array().unwrap_or(&no_args);
        match op {
            "login" => self.login(&mut core, args.first()),
            "subscribe" | "unsubscribe" => {
                if text.len() > limits.frame_bytes || args.len() > limits.frame_args {
                    core.hub.met.sizes += 1;
                    if self.door.generation == Generation::V2 {
                        self.refuse(&mut core, &Reject::OverLimit, None, Some(op));
                    }
                    self.end(&core, End::FlushThenAbrupt);
                    return;
                }
                if args.is_empty() {
                    return self.refuse(&mut core, &Reject::BadParameter, None, Some(op));
                }
                if op == "subscribe" {
                    self.subscribe(&mut core, args);
                } else {
                    self.unsubscribe(&mut core, args);
                }
            }
            "" => self.refuse(&mut core, &Reject::Unrecognised, None, None),
            other => self.refuse(&mut core, &Reject::Unrecognised, None, Some(other)),
        }
    }

    fn login(&mut self, core: &mut Core, arg: Option<&Value>) {
        if !self.door.private {
            return self.refuse(core, &Reject::InvalidOp, None, Some("login"));
        }
        const FAULTS: [(FaultName, Reject); 4] = [
            (FaultName::LoginReject30011, Reject::BadKey),
            (FaultName::LoginReject30012, Reject::BadPassphrase),
            (FaultName::LoginReject30014, Reject::Expired),
            (FaultName::LoginReject30015, Reject::BadSign),
        ];
        for (name, reject) in FAULTS {
            if let Some(spec) = core.faults.hit(name) {
                let closes = spec.value.as_deref() == Some("close");
                self.refuse(core, &reject, None, Some("login"));
                if closes {
                    self.end(core, End::FlushThenAbrupt);
                }
                return;
            }
        }
        let config = &self.shared.config;
        let now_ms = core.now_ms();
        match login::check(arg, &self.shared.keys, now_ms, config.limits.signature_window) {
            Ok(owner) => {
                if self.owner.is_some_and(|before| before != owner) {
                    // Nothing of the account before reaches the new one's.
                    core.hub.forget_private(self.id);
                }
                self.owner = Some(owner);
                if let Some(client) = core.hub.clients.get_mut(&self.id) {
                    client.owner = Some(owner);
                }
                let text = self.voice(core).logged_in();
                core.hub.tell(self.id, &text);
            }
            Err(reject) => {
                self.refuse(core, &reject, None, Some("login"));
                if config.close_on_bad_login {
                    self.end(core, End::FlushThenAbrupt);
                }
            }
        }
    }

    fn subscribe(&mut self, core: &mut Core, args: &[Value]) {
        let limits = self.shared.config.limits;
        let too_many = over(&mut self.subscribes, limits.subscribes_per_hour, limits.hour);
        core.hub.met.subscribes += u64::from(too_many);
        if too_many || self.turn(core, FaultName::RateLimit30006, None) {
            return self.refuse(core, &Reject::TooMany, args.first(), Some("subscribe"));
        }
        for arg in args {
            if self.door.private && self.owner.is_none() {
                self.refuse(core, &Reject::NotLoggedIn, Some(arg), Some("subscribe"));
                continue;
            }
            if self.turn(core, FaultName::Subscribe30001, Some(arg)) {
                self.refuse(core, &Reject::NotThere, Some(arg), Some("subscribe"));
                continue;
            }
            match self.resolve(core, arg) {
                Err(reject) => self.refuse(core, &reject, Some(arg), Some("subscribe")),
                Ok((topic, echo)) => {
                    let held = core.hub.clients.get(&self.id).map_or(0, |c| c.topics.len());
                    if held >= limits.channels {
                        core.hub.met.channels += 1;
                        self.refuse(core, &Reject::OverLimit, Some(arg), Some("subscribe"));
                        self.end(core, End::FlushThenAbrupt);
                        return;
                    }
                    self.accept(core, topic, &echo);
                }
            }
        }
        core.subscribed += 1;
        core.last_subscribe = Some(std::time::Instant::now());
        self.shared.stirred.notify_waiters();
    }

    /// The stream that an argument names: of private ones that of the account it is logged in to.
    fn resolve(&self, core: &Core, arg: &Value) -> Result<(Topic, Value), Reject> {
        let (topic, echo) = topics::resolve(self.door, arg, &Listed(core))?;
        let owner = self.owner.unwrap_or(topic.owner);
        Ok((if self.door.private { Topic { owner, ..topic } } else { topic }, echo))
    }

    fn accept(&self, core: &mut Core, topic: Topic, echo: &Value) {
        let ack = self.voice(core).ack("subscribe", echo);
        core.hub.tell(self.id, &ack);
        if self.turn(core, FaultName::AckSilent, Some(echo)) {
            let silent = Feed::Silent(topic.symbol.unwrap_or(0) as u64);
            core.hub.listen(self.id, Topic { feed: silent, ..topic });
            return;
        }
        if let (Some(hose), Feed::Ticker, Some(symbol)) = (&self.hose, topic.feed, topic.symbol) {
            hose.add(symbol, core.state(symbol));
            return;
        }
        core.hub.listen(self.id, topic);
        core.snapshot(self.id, topic);
        core.replay_history(self.id, topic);
    }

    fn unsubscribe(&self, core: &mut Core, args: &[Value]) {
        for arg in args {
            match self.resolve(core, arg) {
                Err(reject) => self.refuse(core, &reject, Some(arg), Some("unsubscribe")),
                Ok((topic, echo)) => {
                    core.hub.forget(self.id, topic);
                    let ack = self.voice(core).ack("unsubscribe", &echo);
                    core.hub.tell(self.id, &ack);
                }
            }
        }
    }
}

/// Notes an event now; true when that makes more than `limit` within `span`.
fn over(times: &mut VecDeque<Instant>, limit: u32, span: Duration) -> bool {
    let now = Instant::now();
    while times.front().is_some_and(|at| now.duration_since(*at) >= span) {
        times.pop_front();
    }
    if times.len() >= limit as usize {
        return true;
    }
    times.push_back(now);
    false
}
