//! The contract with everybody who reads Redis beside us: the key table, its page and schema, readers old and new,
//! and the two commands that look whether all of it can hold (`doctor`, `acl`).

mod support;

#[path = "contract/acl.rs"]
mod acl;
#[path = "contract/doctor.rs"]
mod doctor;
#[path = "contract/live.rs"]
mod live;
#[path = "contract/page.rs"]
mod page;
#[path = "contract/readers.rs"]
mod readers;
#[path = "contract/snippets.rs"]
mod snippets;
