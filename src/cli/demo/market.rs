//! The demo's exchange, on a thread of its own.

use super::super::{DemoArgs, parse_speed};
use crate::error::Stop;
use crate::venue::{
    self, Credentials, FaultSpec, Hold, MarketSource, ScriptChoice, Speed, Stats, SymbolTruth, Venue, VenueConfig,
};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A running exchange; it ends when stopped.
pub(super) struct DemoMarket {
    venue: Arc<Venue>,
    url: String,
    symbols: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    plays_tapes: bool,
}

impl DemoMarket {
    pub(super) fn start(args: &DemoArgs, [key, secret, pass]: [&str; 3]) -> Result<Self, Stop> {
        let speed = parse_speed(&args.speed)?;
        let config = VenueConfig {
            credentials: Some(Credentials { key: key.into(), secret: secret.into(), pass: pass.into() }),
            symbols: args.symbols.clone(),
            market: if args.tape.is_empty() { MarketSource::Seeded } else { MarketSource::Tapes(args.tape.clone()) },
            speed,
            // A tape is played from its first row to a daemon that is there.
            hold: Hold::UntilSubscribed { settle: Duration::from_millis(500) },
            seed: args.seed,
            script: ScriptChoice::Tour,
            ..VenueConfig::default()
        };
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("exchange".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(e) => {
                        let _ = ready.send(Err(e.to_string()));
                        return;
                    }
                };
                runtime.block_on(async {
                    match venue::start(config).await {
                        Ok(venue) => {
                            let _ = ready.send(Ok(Arc::new(venue)));
                            let _ = stopped.await;
                        }
                        Err(e) => {
                            let _ = ready.send(Err(e.to_string()));
                        }
                    }
                });
            })
            .map_err(|e| Stop::unavailable(format!("no thread for the exchange: {e}")))?;
        let venue = started
            .recv()
            .map_err(|_| Stop::unavailable("the exchange ended before it listened"))?
            .map_err(Stop::unavailable)?;
        Ok(Self {
            url: venue.url(),
            symbols: venue.symbols(),
            venue,
            stop: Some(stop),
            thread: Some(thread),
            plays_tapes: !args.tape.is_empty() && (speed != Speed::Times(1.0) || args.length.is_none()),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// The tapes were played to their end.
    pub(super) fn is_finished(&self) -> bool {
        self.plays_tapes && self.venue.tape_finished()
    }

    pub(super) fn fault(&self, spec: FaultSpec) {
        self.venue.fault(spec);
    }

    pub(super) fn pause(&self) {
        self.venue.pause();
    }

    pub(super) fn stats(&self) -> Stats {
        self.venue.stats()
    }

    pub(super) fn truth(&self) -> Vec<SymbolTruth> {
        self.venue.truth()
    }

    pub(super) fn positions(&self) -> Vec<venue::account::PositionRow> {
        self.venue.positions()
    }

    pub(super) fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
