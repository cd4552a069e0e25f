//! What clients see between the placing of a closing order and its fill.

use super::account::encode::v3;
use super::account::{Account, PositionRow};
use super::config::Generation;
use super::core::Core;
use super::desk;
use super::hub::Feed;
use super::owners::OwnerId;
use rust_decimal::Decimal;

impl Core {
    /// A closing order was placed on the holding `row` of the account as it stood `before` the fill (its past is not looked
    /// at): v2 shows all
    /// positions once more, unchanged; v3 shows this one with the order's size moved to `frozen`.
    pub fn close_order_placed(&mut self, owner: OwnerId, before: &Account, mut row: PositionRow, size: Decimal) {
        if self.owners[owner].stale.is_some() {
            return;
        }
        row.frozen = (row.frozen + size).min(row.size);
        for topic in self.hub.topics_of(Feed::Positions, owner) {
            let stamp = self.private_stamp();
            let text = match topic.generation {
                Generation::V2 => desk::snapshot(before, topic, stamp),
                Generation::V3 => Some(v3::positions_update(before, std::slice::from_ref(&row), stamp)),
            };
            if let Some(text) = text {
                self.publish(topic, text);
            }
        }
    }
}
