//! `trapline doctor`: whether everything around trapline is as it should be.

use super::DoctorArgs;
use crate::clock::Clock;
use crate::config::{Config, Env, PositionKeyFormat};
use crate::doctor::{self, Patient, Report};
use crate::error::{Exit, Stop};
use crate::settings;
use crate::store::link::Target;

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Stop> {
    let mut report = Report::default();
    let env = Env::from_process();
    let config = match args.config.as_deref().map(|file| Config::load(file, &env)) {
        Some(Ok(config)) => Some(config),
        Some(Err(errors)) => {
            doctor::config_faults(&errors, &mut report);
            return print(args, &report);
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::unavailable(format!("no runtime: {e}")))?;
    let target = match (&args.redis, &config) {
        (Some(url), _) => Some(
            Target::parse(url)
                .map_err(|e| Stop::usage(e.to_string()))?
                .with_password(config.as_ref().and_then(|c| c.secrets.redis_password.clone())),
        ),
        (None, Some(config)) => Some(settings::redis_target(config)?),
        (None, None) => return Err(Stop::usage("name what to look at: --config FILE, or --redis URL")),
    };
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let patient = Patient {
        target,
        instance: config.as_ref().map_or_else(|| "trapline".to_owned(), |c| c.redis.instance.clone()),
        migrate: config.as_ref().is_some_and(|c| c.redis.migrate),
        legacy_position: config.as_ref().is_some_and(|c| c.redis.position_key_format == PositionKeyFormat::LegacyJson),
        rest: config.as_ref().map(|c| settings::rest_once(c, Clock::system())).transpose()?,
        state: config.as_ref().map(super::run::state_path).transpose()?,
        config,
        notify_socket: set("NOTIFY_SOCKET"),
        watchdog: set("WATCHDOG_USEC"),
    };
    runtime.block_on(doctor::examine(&patient, &mut report));
    print(args, &report)
}

fn print(args: &DoctorArgs, report: &Report) -> Result<Exit, Stop> {
    super::keys::print(&if args.json { format!("{:#}", report.json()) } else { report.text() })?;
    Ok(if report.blocks() { Exit::Unavailable } else { Exit::Ok })
}
