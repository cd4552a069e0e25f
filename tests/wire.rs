//! The client side of Bitget: fixtures of every channel in both generations, hostile text, real recorded frames,
//! and sessions against a scripted exchange.

#[path = "wire/fixtures.rs"]
mod fixtures;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/recorded.rs"]
mod recorded;
#[path = "wire/relief.rs"]
mod relief;
#[path = "wire/rest.rs"]
mod rest;
#[path = "wire/rooms.rs"]
mod rooms;
#[path = "wire/scripted.rs"]
mod scripted;
#[path = "wire/session.rs"]
mod session;
#[path = "wire/venue.rs"]
mod venue;
