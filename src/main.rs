//! The `trapline` program; its commands come with the parts that they run.

fn main() {
    println!("trapline {}", env!("CARGO_PKG_VERSION"));
}
