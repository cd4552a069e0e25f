//! The built-in exchange as a plain client sees it.

mod books;
mod channels;
mod client;
mod faults;
mod faults_rest;
mod knobs;
mod limits;
mod market;
mod products;
mod rest;
mod scripts;
mod sessions;
mod spot;
mod sub_accounts;
