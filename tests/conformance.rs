//! The exchange against what is known of the real one: what is pushed when, in both generations, and the shape of
//! every frame and every REST answer.
//!
//! Shapes are stored under `tests/golden/exchange/`: the text with every number as 0 and of every list of rows
//! the first, so that order, names and types of fields are held while prices may move.
//! `TRAPLINE_WRITE_GOLDEN=1 cargo test --test conformance` writes them anew; read the difference before you commit it.

#[path = "venue/client.rs"]
#[allow(dead_code, reason = "the client is shared with another test; each uses a part of it")]
mod client;
#[path = "conformance/golden.rs"]
mod golden;
#[path = "conformance/pushes.rs"]
mod pushes;
#[path = "conformance/shapes.rs"]
mod shapes;
