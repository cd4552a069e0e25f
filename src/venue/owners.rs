//! Whose account: the main one and its sub-accounts. Each has its own money, positions, orders and modes, and is
//! opened by a key of its own, as the real exchange's sub-accounts are.

use super::account::Account;
use super::config::{Credentials, SubAccount};
use super::core::Core;
use serde_json::{Value, json};

/// Place of an owner among all: [`MAIN`] and, from 1 on, the sub-accounts in the order in which they were named.
pub type OwnerId = usize;

/// The account that is there without being asked for.
pub const MAIN: OwnerId = 0;
pub const MAIN_NAME: &str = "main";

/// One owner's account.
#[derive(Debug)]
pub struct Owner {
    pub name: String,
    pub account: Account,
    /// The account as it was when fault `stale_position` began.
    pub stale: Option<Box<Account>>,
}

impl Owner {
    pub fn new(name: &str, account: Account) -> Self {
        Self { name: name.to_owned(), account, stale: None }
    }

    /// The account as clients see it.
    pub fn shown(&self) -> &Account {
        self.stale.as_deref().unwrap_or(&self.account)
    }
}

/// Which key opens whose account.
#[derive(Debug)]
pub struct Keys {
    /// `None`: everybody is let in, and every key that is no sub-account's opens the main account.
    main: Option<Credentials>,
    others: Vec<Credentials>,
}

impl Keys {
    pub fn new(main: Option<Credentials>, others: &[SubAccount]) -> Self {
        Self { main, others: others.iter().map(|sub| sub.credentials.clone()).collect() }
    }

    /// Whether keys, passphrases and signatures are looked at.
    pub const fn checked(&self) -> bool {
        self.main.is_some()
    }

    /// Whose key it is, and what it has to be signed with (`None`: nothing is checked). `None`: nobody's.
    pub fn owner(&self, key: &str) -> Option<(OwnerId, Option<&Credentials>)> {
        if let Some(place) = self.others.iter().position(|credentials| credentials.key == key) {
            return Some((place + 1, self.main.as_ref().and(self.others.get(place))));
        }
        match &self.main {
            Some(credentials) => (credentials.key == key).then_some((MAIN, Some(credentials))),
            None => Some((MAIN, None)),
        }
    }
}

impl Core {
    /// Only ids that this exchange gave out are asked for.
    pub fn account(&self, owner: OwnerId) -> &Account {
        &self.owners[owner].account
    }

    pub fn account_mut(&mut self, owner: OwnerId) -> &mut Account {
        &mut self.owners[owner].account
    }

    /// The account as its clients see it.
    pub fn shown_account(&self, owner: OwnerId) -> &Account {
        self.owners[owner].shown()
    }

    pub fn owner_named(&self, name: &str) -> Option<OwnerId> {
        self.owners.iter().position(|owner| owner.name == name)
    }

    /// Tells every account the mark price of a symbol.
    pub fn mark_accounts(&mut self, symbol: usize) {
        let state = &self.market.symbols[symbol];
        for owner in &mut self.owners {
            owner.account.mark(&state.instrument.name, state.mark);
        }
    }

    /// Open positions as they really are, for the control door.
    pub fn positions_told(&self, owner: OwnerId) -> Value {
        let rows = self.account(owner).positions().into_iter().map(|row| {
            json!({
                "symbol": row.symbol,
                "side": row.side.label(),
                "size": row.size.to_string(),
                "entry": row.entry_price.to_string(),
                "mark": row.mark_price.to_string(),
            })
        });
        Value::Array(rows.collect())
    }

    /// Every account as it really is, by name.
    pub fn owners_told(&self) -> Value {
        let told = self.owners.iter().enumerate().map(|(id, owner)| {
            let row = owner.account.account_row();
            let facts = json!({
                "positions": self.positions_told(id),
                "coin": row.coin,
                "balance": row.balance.to_string(),
                "equity": row.equity.to_string(),
                "hold": owner.account.hold_mode().label(),
            });
            (owner.name.clone(), facts)
        });
        Value::Object(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str) -> Credentials {
        Credentials { key: format!("{name}-key"), secret: "s".to_owned(), pass: "p".to_owned() }
    }

    #[test]
    fn each_key_opens_one_account() {
        let subs = [SubAccount::named("a"), SubAccount::named("b")];
        let strict = Keys::new(Some(credentials("demo")), &subs);
        let open = Keys::new(None, &subs);
        let who = |keys: &Keys, key: &str| keys.owner(key).map(|(id, credentials)| (id, credentials.is_some()));
        for (key, strictly, openly) in [
            ("demo-key", Some((MAIN, true)), Some((MAIN, false))),
            ("a-key", Some((1, true)), Some((1, false))),
            ("b-key", Some((2, true)), Some((2, false))),
            ("nobody", None, Some((MAIN, false))),
            ("", None, Some((MAIN, false))),
        ] {
            assert_eq!((who(&strict, key), who(&open, key)), (strictly, openly), "{key:?}");
        }
    }
}
