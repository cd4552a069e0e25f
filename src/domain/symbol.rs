//! Which instruments the daemon knows. Symbols are interned once; reports carry a [`SymbolId`].

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Index of a symbol in the daemon's [`Symbols`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SymbolId(pub u16);

impl SymbolId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the contract is margined and settled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Product {
    UsdtFutures,
    UsdcFutures,
    CoinFutures,
}

impl Product {
    pub const ALL: [Self; 3] = [Self::UsdtFutures, Self::UsdcFutures, Self::CoinFutures];
}

/// One configured instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The exchange's own spelling today, e.g. `BTCUSDT`.
    pub name: String,
    pub product: Product,
}

/// The configured instruments, in the order of the configuration; the first one is the primary symbol.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    list: Vec<Symbol>,
    by_name: FxHashMap<String, SymbolId>,
}

impl Symbols {
    /// The most symbols one daemon serves.
    pub const MAX: usize = 1_024;

    /// Builds the table; a name that stands twice keeps its first row. More than [`Symbols::MAX`] rows are cut by
    /// the configuration's checks before they come here.
    pub fn new(list: impl IntoIterator<Item = Symbol>) -> Self {
        let mut table = Self::default();
        for symbol in list.into_iter().take(Self::MAX) {
            if table.by_name.contains_key(&symbol.name) {
                continue;
            }
            let id = SymbolId(u16::try_from(table.list.len()).unwrap_or(u16::MAX));
            table.by_name.insert(symbol.name.clone(), id);
            table.list.push(symbol);
        }
        table
    }

    /// USDT-margined symbols by name.
    pub fn usdt<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(names.into_iter().map(|name| Symbol { name: name.to_owned(), product: Product::UsdtFutures }))
    }

    pub fn id(&self, name: &str) -> Option<SymbolId> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: SymbolId) -> &Symbol {
        &self.list[id.index()]
    }

    pub fn name(&self, id: SymbolId) -> &str {
        &self.get(id).name
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The symbol that the seed's key names belong to; the first of the configuration.
    pub fn primary(&self) -> Option<SymbolId> {
        (!self.list.is_empty()).then_some(SymbolId(0))
    }

    pub fn ids(&self) -> impl Iterator<Item = SymbolId> + use<> {
        (0..self.list.len()).map(|i| SymbolId(i as u16))
    }

    pub fn iter(&self) -> impl Iterator<Item = (SymbolId, &Symbol)> {
        self.list.iter().enumerate().map(|(i, s)| (SymbolId(i as u16), s))
    }
}
