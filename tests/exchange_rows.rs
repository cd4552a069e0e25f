//! Rows X1 to X16 of the fault matrix: what the exchange or the network between does wrong, on the whole daemon. One
//! test a row. In each the picture comes back by itself, no value goes back, what is old says so, the other rooms go
//! on, and nobody restarts: a trouble outside is no death.
//!
//! `FAULT_SECONDS` lengthens what a row does for a time.

mod support;

#[path = "exchange_rows/account.rs"]
mod account;
#[path = "exchange_rows/connections.rs"]
mod connections;
#[path = "exchange_rows/data.rs"]
mod data;
#[path = "exchange_rows/frames.rs"]
mod frames;
#[path = "exchange_rows/names.rs"]
mod names;
#[path = "exchange_rows/replacement.rs"]
mod replacement;
#[path = "exchange_rows/silence.rs"]
mod silence;
#[path = "exchange_rows/way.rs"]
mod way;
