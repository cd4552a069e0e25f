//! The state machine of one session.

use super::super::bitget::consts::PING;
use super::super::bitget::parse::{Control, Decoded, Decoder, Frame};
use super::super::bitget::subscribe::{Stream, subscribe_frames};
use super::connect::{Socket, connect, read_out};
use super::heard::Line;
use super::relief::Shift;
use super::watch::Watch;
use super::{EndReason, FeedNotice, FeedSettings, Gone, Memory, Outlet, Plan, SessionEnd};
use crate::alive::while_waiting;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::{Batch, Origin, Report};
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A pong this many deadlines late ends the session even while frames keep coming in.
const PONG_PATIENCE: u32 = 3;
/// A quiet session looks round once in this time: whoever watches it sees that it lives.
const TURN: Duration = Duration::from_millis(500);
/// Writing takes no time on a living connection.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Fewer bad frames than this are an accident, whatever their share.
const BAD_FRAMES_MIN: u32 = 5;
/// How often a session that waits for its relief looks whether it may go.
const RELIEF_LOOK: Duration = Duration::from_millis(20);

/// Runs one session to its end, without relief. `memory` goes from session to session.
pub async fn run<O: Outlet>(plan: &Plan, memory: &mut Memory, outlet: &mut O) -> SessionEnd {
    let line = plan.heard.line(plan.is_private(), &plan.streams);
    run_shift(plan, memory, outlet, line, None).await
}

/// Runs one session to its end; with a `shift` it waits for its relief when it is old.
pub(super) async fn run_shift<O: Outlet>(
    plan: &Plan,
    memory: &mut Memory,
    outlet: &mut O,
    line: Arc<Line>,
    shift: Option<Rc<Shift>>,
) -> SessionEnd {
    let born = Instant::now();
    let (reason, useful) = match connect(&plan.url, plan.settings.connect_timeout, plan.clock.now_ms()).await {
        Err(reason) => (reason, false),
        Ok(socket) => {
            let mut session = Session::new(plan, memory, outlet, socket, line);
            session.shift = shift;
            let reason = match session.live().await {
                Ok(never) => match never {},
                Err(reason) => reason,
            };
            session.hang_up(&reason).await;
            (reason, session.useful)
        }
    };
    SessionEnd { reason, useful, lived: born.elapsed() }
}

enum Never {}

impl From<Gone> for EndReason {
    fn from(Gone: Gone) -> Self {
        Self::Stopped
    }
}

/// What a read of the socket brought besides reports.
enum Happened {
    Control(Control),
    Ended(EndReason),
}

pub(super) struct Session<'a, O> {
    pub(super) plan: &'a Plan,
    connection: u32,
    settings: &'a FeedSettings,
    pub(super) memory: &'a mut Memory,
    pub(super) outlet: &'a mut O,
    socket: Socket,
    decoder: Decoder,
    decoded: Decoded,
    /// When the first frame of the batch in hand was read: wall clock and monotonic.
    received: (i64, Instant),
    happened: Vec<Happened>,
    pub(super) watch: Watch,
    /// Subscribe frames that wait for their turn.
    queue: VecDeque<(String, Vec<Stream>)>,
    pub(super) next_subscribe: Instant,
    last_sent: Option<Instant>,
    pub(super) login_due: Option<Instant>,
    ping_due: Instant,
    pub(super) pong_due: Option<Instant>,
    end_due: Instant,
    /// Newest frame of any kind.
    heard: Instant,
    line: Arc<Line>,
    shift: Option<Rc<Shift>>,
    window: BadWindow,
    /// Silent streams that are still to be told.
    given_up: Vec<Stream>,
    pub(super) backed_off: bool,
    ready: bool,
    useful: bool,
    random: u64,
}

/// Counts unreadable frames.
struct BadWindow {
    ends: Instant,
    frames: u32,
    bad: u32,
}

impl<'a, O: Outlet> Session<'a, O> {
    fn new(plan: &'a Plan, memory: &'a mut Memory, outlet: &'a mut O, socket: Socket, line: Arc<Line>) -> Self {
        let now = Instant::now();
        let settings = &plan.settings;
        let mut watch = Watch::new(&plan.streams, settings);
        let (muted, streams): (Vec<Stream>, Vec<Stream>) =
            plan.streams.iter().partition(|s| memory.dropped_until(s, now).is_some());
        for stream in muted {
            memory.dropped_until(&stream, now).into_iter().for_each(|until| watch.mute(&stream, until));
        }
        let connection = plan.connections.next();
        let mut random = plan.seed ^ u64::from(connection).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        random ^= u64::try_from(plan.clock.now_ms()).unwrap_or_default();
        let mut session = Self {
            plan,
            connection,
            settings,
            memory,
            outlet,
            socket,
            decoder: Decoder::new(plan.generation, plan.symbols.clone()),
            decoded: Decoded::default(),
            received: (plan.clock.now_ms(), now),
            happened: Vec::new(),
            watch,
            queue: subscribe_frames(plan.generation, &plan.symbols, &streams).into(),
            next_subscribe: now,
            last_sent: None,
            login_due: None,
            ping_due: now,
            pong_due: None,
            end_due: now,
            heard: now,
            line,
            shift: None,
            window: BadWindow { ends: now + settings.bad_window, frames: 0, bad: 0 },
            given_up: Vec::new(),
            backed_off: false,
            ready: false,
            useful: false,
            random,
        };
        session.ping_due = now + session.jittered_ping();
        let early = session.chance(settings.planned_reconnect / 20);
        session.end_due = now + settings.planned_reconnect - early;
        session
    }

    async fn live(&mut self) -> Result<Never, EndReason> {
        self.outlet.notice(FeedNotice::Connected).await?;
        if let Some(credential) = &self.plan.credential {
            let login = credential.login_frame(self.plan.clock.now_ms() + self.plan.skew.offset_ms());
            self.send(login).await?;
            self.login_due = Some(Instant::now() + self.settings.login_timeout);
        }
        let mut timer = Box::pin(tokio::time::sleep_until(Instant::now().into()));
        loop {
            crate::fault_points::never(if self.plan.is_private() { "exchange_feed_private" } else { "exchange_feed" })
                .await;
            let drained = self.wait(&mut timer).await;
            self.outlet.alive();
            self.hand_on().await?;
            if let Some(shift) = self.shift.as_ref().filter(|_| self.watch.is_settled()) {
                shift.settle();
            }
            let now = Instant::now();
            self.speak(now).await?;
            if drained || self.watch.is_due_sooner() {
                if drained {
                    self.deadlines(now)?;
                }
                for stream in std::mem::take(&mut self.given_up) {
                    self.outlet.notice(FeedNotice::Silent { stream }).await?;
                }
                let now = Instant::now();
                timer.as_mut().reset(self.next_due(now).min(now + TURN).into());
            } else if self.login_due.is_none() && !self.queue.is_empty() {
                // What was just read (the answer to a login) may have made something due earlier than the timer; what it
                // put off (a word to slow down) leaves pings and deadlines where they are.
                let due = self.may_subscribe().into();
                if due < timer.deadline() {
                    timer.as_mut().reset(due);
                }
            }
        }
    }

    /// Waits for frames or for the timer, and reads all frames that are there already, up to one batch. True when
    /// nothing was there: only then may silence be judged.
    async fn wait(&mut self, timer: &mut Pin<Box<Sleep>>) -> bool {
        poll_fn(|cx| match self.poll_frames(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| true),
        })
        .await
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut received = None;
        if self.plan.connections.is_deaf(self.connection) {
            // The socket will wake nobody; the timer does.
            return Poll::Pending;
        }
        loop {
            let message = match self.socket.poll_next_unpin(cx) {
                Poll::Pending if received.is_none() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
                Poll::Ready(message) => message,
            };
            let (received_ms, now) = *received.get_or_insert_with(|| (self.plan.clock.now_ms(), Instant::now()));
            self.received = (received_ms, now);
            self.heard = now;
            if self.plan.connections.is_cut(self.connection) {
                self.happened.push(Happened::Ended(EndReason::Broken("cut by a drill".to_owned())));
                return Poll::Ready(());
            }
            match message {
                Some(Ok(Message::Text(text))) => self.text(text.as_str(), received_ms, now),
                Some(Ok(Message::Binary(_))) => self.refuse(Refusal::Garbage, received_ms, "a binary frame"),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map(|CloseFrame { code, .. }| code.into());
                    self.happened.push(Happened::Ended(EndReason::Closed { code }));
                }
                Some(Err(error)) => {
                    let ended = match error {
                        Error::ConnectionClosed | Error::AlreadyClosed => EndReason::Closed { code: None },
                        Error::Capacity(_) => {
                            self.refuse(Refusal::Oversized, received_ms, "longer than a message may be");
                            EndReason::Oversized
                        }
                        Error::Utf8(_) => {
                            self.refuse(Refusal::Garbage, received_ms, "text that is not UTF-8");
                            EndReason::Broken("text that is not UTF-8".to_owned())
                        }
                        other => EndReason::Broken(other.to_string()),
                    };
                    self.happened.push(Happened::Ended(ended));
                }
                None => self.happened.push(Happened::Ended(EndReason::Closed { code: None })),
            }
            // What is not a report changes what comes next, so it is dealt with before reading on.
            if !self.happened.is_empty() || self.decoded.reports.len() >= self.settings.batch_max {
                return Poll::Ready(());
            }
        }
    }

    fn text(&mut self, text: &str, received_ms: i64, now: Instant) {
        crate::fault_points::hit("ws.frame");
        self.window.frames += 1;
        self.line.frame(now);
        let (reports, refused) = (self.decoded.reports.len(), self.decoded.refused.len());
        match self.decoder.decode(text, received_ms, &mut self.decoded) {
            Frame::Data(stream) => {
                self.memory.accept(&stream);
                let last = match self.decoded.reports.last() {
                    Some(Report::Ticker(ticker)) => Some(ticker.last),
                    _ => None,
                };
                if let Some(at) = self.watch.data(&stream, last, now) {
                    self.line.data(at, now);
                } else {
                    self.decoded.reports.truncate(reports);
                    self.decoded.refused.truncate(refused);
                    let kind = stream.channel.label();
                    let unasked = Refused::new(Refusal::UnknownChannel, kind, received_ms, "nobody subscribed to this");
                    self.decoded.refused.push(unasked.with_symbol(stream.symbol));
                }
            }
            Frame::Control(control) => self.happened.push(Happened::Control(control)),
            Frame::Refused => {}
        }
        if self.decoded.refused[refused..].iter().any(|r| is_unreadable(r.refusal)) {
            self.window.bad += 1;
        }
    }

    fn refuse(&mut self, refusal: Refusal, received_ms: i64, detail: &str) {
        self.window.frames += 1;
        self.window.bad += 1;
        self.decoded.refused.push(Refused::new(refusal, "frame", received_ms, detail));
    }

    /// Gives away what was read, in the order in which it matters.
    async fn hand_on(&mut self) -> Result<(), EndReason> {
        if !self.decoded.reports.is_empty() {
            self.say_ready().await?;
            self.useful = true;
            // Room for as much again, so that a steady stream grows no list.
            let room = Vec::with_capacity(self.decoded.reports.len().next_power_of_two());
            let reports = std::mem::replace(&mut self.decoded.reports, room);
            let batch = Batch {
                origin: Origin::Socket,
                connection: self.connection,
                received_ms: self.received.0,
                received: self.received.1,
                reports: Arc::new(reports),
            };
            self.outlet.batch(batch).await?;
        }
        if !self.decoded.refused.is_empty() {
            self.outlet.refused(std::mem::take(&mut self.decoded.refused)).await?;
        }
        for happened in std::mem::take(&mut self.happened) {
            match happened {
                Happened::Control(control) => self.control(control).await?,
                Happened::Ended(reason) => return Err(reason),
            }
        }
        self.judge_frames(Instant::now())
    }

    pub(super) async fn say_ready(&mut self) -> Result<(), EndReason> {
        if !std::mem::replace(&mut self.ready, true) {
            self.outlet.notice(FeedNotice::Ready { connection: self.connection }).await?;
        }
        Ok(())
    }

    fn judge_frames(&mut self, now: Instant) -> Result<(), EndReason> {
        if now < self.window.ends {
            return Ok(());
        }
        let BadWindow { frames, bad, .. } = self.window;
        self.window = BadWindow { ends: now + self.settings.bad_window, frames: 0, bad: 0 };
        let limit = self.settings.bad_percent;
        if bad >= BAD_FRAMES_MIN && u64::from(bad) * 100 > u64::from(frames) * u64::from(limit) {
            return Err(EndReason::BadFrames(limit));
        }
        Ok(())
    }

    /// Sends what is due: pings at any time, subscriptions once logged in.
    async fn speak(&mut self, now: Instant) -> Result<(), EndReason> {
        let patience = self.settings.pong_deadline * (PONG_PATIENCE - 1);
        if self.pong_due.is_some_and(|due| due + patience <= now) {
            return Err(EndReason::NoPong(self.settings.pong_deadline));
        }
        let probe = self.probe_due().is_some_and(|due| due <= now) && self.pong_due.is_none();
        if (now >= self.ping_due || probe) && self.login_due.is_none() {
            self.send(PING.to_owned()).await?;
            self.ping_due = now + self.jittered_ping();
            // An unanswered ping keeps its deadline.
            self.pong_due.get_or_insert(now + self.settings.pong_deadline);
        }
        while self.login_due.is_none() && !self.queue.is_empty() && Instant::now() >= self.may_subscribe() {
            let Some((frame, streams)) = self.queue.pop_front() else { break };
            self.send(frame).await?;
            let now = Instant::now();
            self.watch.asked(&streams, now);
            self.next_subscribe = now + self.settings.subscribe_gap;
        }
        Ok(())
    }

    fn may_subscribe(&self) -> Instant {
        let spacing = Duration::from_secs(1) / self.settings.messages_per_second.max(1);
        self.last_sent.map_or(self.next_subscribe, |at| self.next_subscribe.max(at + spacing))
    }

    async fn send(&mut self, text: String) -> Result<(), EndReason> {
        let (outlet, sending) = (&*self.outlet, self.socket.send(Message::text(text)));
        match while_waiting(|| outlet.alive(), tokio::time::timeout(WRITE_LIMIT, sending)).await {
            Ok(Ok(())) => {
                self.last_sent = Some(Instant::now());
                Ok(())
            }
            Ok(Err(error)) => Err(EndReason::Broken(error.to_string())),
            Err(_) => Err(EndReason::Broken("the exchange does not read".to_owned())),
        }
    }

    /// Ends the session, or asks again, where something is overdue. Nothing waits to be read now.
    fn deadlines(&mut self, now: Instant) -> Result<(), EndReason> {
        if self.login_due.is_some_and(|due| due <= now) {
            return Err(EndReason::LoginTimeout(self.settings.login_timeout));
        }
        if self.pong_due.is_some_and(|due| due <= now) {
            return Err(EndReason::NoPong(self.settings.pong_deadline));
        }
        if self.end_due <= now {
            match &self.shift {
                Some(shift) if !shift.is_leaving() => shift.ask(),
                _ => return Err(EndReason::Planned),
            }
        }
        if self.is_talkative() && self.heard + self.settings.silence <= now {
            return Err(EndReason::NothingHeard(self.settings.silence));
        }
        let verdict = self.watch.check(now, self.memory);
        if let Some(stream) = verdict.lost {
            return Err(EndReason::Silent(stream.channel.label()));
        }
        self.queue.extend(subscribe_frames(self.plan.generation, &self.plan.symbols, &verdict.resubscribe));
        self.given_up.extend(verdict.given_up);
        Ok(())
    }

    fn next_due(&self, now: Instant) -> Instant {
        let subscribe = (self.login_due.is_none() && !self.queue.is_empty()).then(|| self.may_subscribe());
        let ping = self.login_due.is_none().then_some(self.ping_due);
        let probe = self.probe_due().filter(|_| self.pong_due.is_none());
        let mute = self.is_talkative().then(|| self.heard + self.settings.silence);
        let end = if self.end_due <= now { now + RELIEF_LOOK } else { self.end_due };
        let dues = [subscribe, ping, probe, mute, self.login_due, self.pong_due, self.watch.next_due()];
        // Never at once again: what is due now has just been dealt with.
        dues.into_iter().flatten().fold(end, Instant::min).max(now + Duration::from_millis(1))
    }

    /// A public connection on which a ticker has begun to speak: from then on there is always something to hear.
    fn is_talkative(&self) -> bool {
        !self.plan.is_private() && self.watch.has_ticked()
    }

    /// When to ask whether anybody is still there, so that silence and a dead line are told apart in time.
    fn probe_due(&self) -> Option<Instant> {
        self.is_talkative().then(|| self.heard + self.settings.silence / 2)
    }

    /// Says goodbye where somebody still listens.
    async fn hang_up(&mut self, reason: &EndReason) {
        if !matches!(reason, EndReason::Closed { .. } | EndReason::Broken(_)) {
            let too_long = CloseFrame { code: CloseCode::Size, reason: "longer than a message may be".into() };
            let frame = matches!(reason, EndReason::Oversized).then_some(too_long);
            let _ = tokio::time::timeout(Duration::from_millis(500), self.socket.close(frame)).await;
            if matches!(reason, EndReason::Oversized) {
                read_out(&mut self.socket, Duration::from_millis(500)).await;
            }
        }
        if self.ready {
            let _ = self.outlet.notice(FeedNotice::Lost { connection: self.connection, reason: reason.clone() }).await;
        }
    }

    fn jittered_ping(&mut self) -> Duration {
        self.settings.ping_every + self.chance(self.settings.ping_every / 4)
    }

    /// A span between zero and `most`, by chance (splitmix64).
    pub(super) fn chance(&mut self, most: Duration) -> Duration {
        most.mul_f64(super::keep::unit(&mut self.random))
    }
}

const fn is_unreadable(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Garbage | Refusal::Oversized | Refusal::UnknownShape | Refusal::BadField | Refusal::OutOfRange
    )
}
