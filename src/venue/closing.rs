//! What clients see between the placing of a closing order and its fill.

use super::account::HoldSide;
use super::account::encode::v3;
use super::config::Generation;
use super::core::Core;
use super::desk;
use super::hub::Feed;
use rust_decimal::Decimal;

impl Core {
    /// A closing order was placed: v2 shows the positions once more, unchanged, before the fill changes them.
    pub fn close_order_placed(&mut self) {
        for topic in self.hub.topics(Feed::Positions) {
            if topic.generation == Generation::V2 {
                let stamp = self.private_stamp();
                if let Some(text) = desk::snapshot(self.shown_account(), topic, stamp) {
                    self.publish(topic, text);
                }
            }
        }
    }

    /// The same with the holding and the size of the order: v3 moves the size to `frozen` before the fill.
    pub fn close_order_placed_for(&mut self, symbol: &str, side: HoldSide, size: Decimal) {
        self.close_order_placed();
        let Some(mut row) = self.shown_account().position(symbol, side) else { return };
        row.frozen = size.min(row.size);
        for topic in self.hub.topics(Feed::Positions) {
            if topic.generation == Generation::V3 {
                let stamp = self.private_stamp();
                let text = v3::positions_update(self.shown_account(), std::slice::from_ref(&row), stamp);
                self.publish(topic, text);
            }
        }
    }
}
