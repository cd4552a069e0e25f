//! What the exchange says about the key that asks: who may do what, and from where.

use crate::venue::account::encode::rest_ok;
use serde_json::json;

/// Rights of the key that clients sign with.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRights {
    pub trade: bool,
    pub withdraw: bool,
    /// Addresses it is bound to; empty: any.
    pub ips: String,
}

pub const PATHS: [&str; 2] = ["/api/v2/spot/account/info", "/api/v3/account/info"];

/// The answer, if the path is one of these.
pub fn answer(key: &KeyRights, path: &str, now_ms: i64) -> Option<String> {
    let mut rights = Vec::new();
    let data = match path {
        // Four letters each: area, kind, `o`, and r for reading or w for writing.
        "/api/v2/spot/account/info" => {
            rights.extend(["coor", "cpor", "stor", "wtor"]);
            if key.trade {
                rights.extend(["coow", "cpow", "stow"]);
            }
            if key.withdraw {
                rights.push("wwow");
            }
            json!({"userId": "1000000001", "inviterId": "", "ips": key.ips, "authorities": rights,
                   "parentId": 1_000_000_001, "traderType": "not_trader", "channelCode": "", "channel": "",
                   "regisTime": "1672531200000"})
        }
        "/api/v3/account/info" => {
            rights.push("uta_mgt");
            if key.trade {
                rights.push("uta_trade");
            }
            if key.withdraw {
                rights.push("withdraw");
            }
            let kind = if key.trade || key.withdraw { "read-and-write" } else { "read-only" };
            json!({"userId": "1000000001", "inviterId": "", "parentId": "", "ips": key.ips, "permType": kind,
                   "permissions": rights, "regisTime": "1672531200000"})
        }
        _ => return None,
    };
    Some(rest_ok(&data.to_string(), now_ms))
}
