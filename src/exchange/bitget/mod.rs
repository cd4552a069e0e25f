//! Bitget: both living generations of its protocol, classic (v2) and unified (v3).

pub mod consts;
pub mod credential;
pub mod dialect;
pub mod error;
mod fast_ticker;
mod hot_rows;
mod messages;
pub mod parse;
mod parse_private;
mod parse_public;
pub mod rest;
pub mod rest_parse;
mod scalar;
pub mod subscribe;
