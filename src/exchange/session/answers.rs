//! What a session does about the exchange's answers: acknowledgements, logins, errors.

use super::super::bitget::error::{CodeAction, code_action, login_fix};
use super::super::bitget::parse::Control;
use super::super::bitget::subscribe::Stream;
use super::machine::Session;
use super::{EndReason, FeedNotice, Outlet};
use std::time::{Duration, Instant};

/// Pause after the exchange complained about too many messages.
const BACK_OFF: Duration = Duration::from_secs(10);

impl<O: Outlet> Session<'_, O> {
    pub(super) async fn control(&mut self, control: Control) -> Result<(), EndReason> {
        match control {
            Control::Pong => self.pong_due = None,
            Control::LoggedIn => {
                self.login_due = None;
                self.next_subscribe = Instant::now();
            }
            Control::Subscribed(stream) => {
                if let Some(stream) = stream {
                    self.watch.acked(&stream);
                }
                if self.watch.is_settled() {
                    self.say_ready().await?;
                }
            }
            Control::Unsubscribed(_) => {}
            Control::Error { code, stream, message } => return self.error(code, stream, message).await,
        }
        Ok(())
    }

    async fn error(&mut self, code: Option<i64>, stream: Option<Stream>, message: String) -> Result<(), EndReason> {
        let action = code.map_or(CodeAction::Note, code_action);
        let code_or_none = code.unwrap_or_default();
        match action {
            CodeAction::SyncClock => return Err(EndReason::ClockOff { code: code_or_none }),
            CodeAction::LoginRefused => return self.refused_login(code_or_none).await,
            CodeAction::LoginAgain if self.plan.is_private() => return Err(EndReason::LoggedOut),
            CodeAction::BackOff if self.login_due.is_some() => return Err(EndReason::BackOff { code: code_or_none }),
            // Before the answer to the login nothing else was asked.
            _ if self.login_due.is_some() => return self.refused_login(code_or_none).await,
            CodeAction::BackOff if std::mem::replace(&mut self.backed_off, true) => {
                return Err(EndReason::BackOff { code: code_or_none });
            }
            CodeAction::BackOff => {
                self.next_subscribe = Instant::now() + BACK_OFF + self.chance(BACK_OFF);
                self.outlet.notice(FeedNotice::Told { code, message }).await?;
            }
            CodeAction::DropSubscription => match stream {
                Some(stream) if self.watch.knows(&stream) => {
                    let until = self.memory.refuse(stream, Instant::now());
                    self.watch.mute(&stream, until);
                    let dropped = FeedNotice::SubscriptionDropped { stream, code: code_or_none, message };
                    self.outlet.notice(dropped).await?;
                    if self.watch.is_settled() {
                        self.say_ready().await?;
                    }
                }
                // Its first data will not come, which is how it will be found.
                _ => self.outlet.notice(FeedNotice::Told { code, message }).await?,
            },
            CodeAction::LoginAgain | CodeAction::Note => {
                self.outlet.notice(FeedNotice::Told { code, message }).await?;
            }
        }
        Ok(())
    }

    async fn refused_login(&mut self, code: i64) -> Result<(), EndReason> {
        self.outlet.notice(FeedNotice::LoginRefused { code, fix: login_fix(code) }).await?;
        Err(EndReason::LoginRefused { code })
    }
}
