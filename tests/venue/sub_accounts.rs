//! Sub-accounts: the key says whose account it is, and nobody hears of another's.

use crate::client::*;
use serde_json::{Value, json};
use std::time::Duration;
use trapline::venue::account::script::Script;
use trapline::venue::account::shipped;
use trapline::venue::session::login::sign;
use trapline::venue::{Credentials, ScriptChoice, SubAccount, Venue, VenueConfig, VenueError, start};

const V2_POSITIONS: &str = "/api/v2/mix/position/all-position?productType=USDT-FUTURES";
const V3_POSITIONS: &str = "/api/v3/position/current-position?category=USDT-FUTURES";

fn now_ms() -> i64 {
    trapline::clock::Clock::system().now_ms()
}

fn words(name: &str) -> [String; 3] {
    ["key", "secret", "pass"].map(|kind| format!("{name}-{kind}"))
}

async fn three() -> Venue {
    let [key, secret, pass] = words("demo");
    venue(|config| {
        config.credentials = Some(Credentials { key, secret, pass });
        config.sub_accounts = vec![SubAccount::named("desk-a"), SubAccount::named("desk-b")];
    })
    .await
}

fn login(name: &str) -> String {
    let ([key, secret, pass], now_s) = (words(name), now_ms() / 1_000);
    let sign = sign(&secret, &format!("{now_s}GET/user/verify"));
    json!({"op": "login", "args": [{"apiKey": key, "passphrase": pass, "timestamp": now_s.to_string(), "sign": sign}]})
        .to_string()
}

/// A client that is logged in by the key of `name` and listens to everything private.
async fn listener(venue: &Venue, generation: u8, name: &str) -> Client {
    let mut client = Client::connect(venue, &door(generation, "private")).await;
    client.say(&login(name)).await;
    assert_eq!(client.frame().await["code"], 0, "{name}");
    for channel in ["positions", "account", "orders", "fill"] {
        client.subscribe(&private(generation, channel)).await;
        client.until(|f| f["event"] == "subscribe").await;
    }
    client
}

/// A signed GET.
async fn ask(venue: &Venue, name: &str, path: &str) -> Answer {
    let ([key, secret, pass], now_ms) = (words(name), now_ms());
    let sign = sign(&secret, &format!("{now_ms}GET{path}"));
    let headers = format!(
        "ACCESS-KEY: {key}\r\nACCESS-SIGN: {sign}\r\nACCESS-TIMESTAMP: {now_ms}\r\nACCESS-PASSPHRASE: {pass}\r\n"
    );
    http(venue.addr(), "GET", path, &headers, "").await
}

/// Everything that came until now.
async fn heard(client: &mut Client) -> Vec<Value> {
    client.say("ping").await;
    let mut all = Vec::new();
    loop {
        let text = client.text().await;
        if text == "pong" {
            return all;
        }
        all.push(serde_json::from_str(&text).expect("a frame"));
    }
}

#[tokio::test]
async fn private_pushes_of_one_owner_never_reach_another() {
    let venue = three().await;
    let mut clients = Vec::new();
    for name in ["demo", "desk-a", "desk-b"] {
        for generation in [2, 3] {
            clients.push((name, generation, listener(&venue, generation, name).await));
        }
    }
    for (_, _, client) in &mut clients {
        heard(client).await;
    }
    // Each owner trades a size of its own, several kinds of push for each.
    command(&venue, "mode?hold=hedge&account=desk-a").await;
    for (name, size) in [("main", "0.11"), ("desk-a", "0.22"), ("desk-b", "0.33")] {
        let effect = if name == "desk-a" { "&effect=open" } else { "" };
        command(&venue, &format!("order?symbol=BTCUSDT&side=buy&size={size}&account={name}{effect}")).await;
        command(&venue, &format!("order?symbol=BTCUSDT&side=sell&effect=close&size=0.01&account={name}")).await;
    }
    for (name, generation, client) in &mut clients {
        let own = match *name {
            "demo" => "0.11",
            "desk-a" => "0.22",
            _ => "0.33",
        };
        let frames = heard(client).await;
        let channel = |f: &Value| f["arg"].get("channel").or(f["arg"].get("topic")).cloned().unwrap_or_default();
        let channels: std::collections::BTreeSet<String> = frames.iter().map(|f| channel(f).to_string()).collect();
        assert_eq!(channels.len(), 4, "{name} v{generation}: {channels:?}");
        let text = serde_json::to_string(&frames).expect("text");
        for size in ["0.11", "0.22", "0.33"] {
            let told = text.contains(&format!("\"{size}\""));
            assert_eq!(told, size == own, "{name} v{generation} of {size}: {text}");
        }
    }
    // REST says to each key its own.
    for (name, size) in [("demo", "0.1"), ("desk-a", "0.21"), ("desk-b", "0.32")] {
        let v2 = ask(&venue, name, V2_POSITIONS).await.json();
        assert_eq!((v2["data"].as_array().map(Vec::len), &v2["data"][0]["total"]), (Some(1), &json!(size)), "{name}");
        let v3 = ask(&venue, name, V3_POSITIONS).await.json();
        assert_eq!(v3["data"]["list"][0]["total"], size, "{name}");
        let fills = ask(&venue, name, "/api/v3/trade/fills?category=USDT-FUTURES").await.json();
        assert_eq!(fills["data"]["list"].as_array().map(Vec::len), Some(2), "{name}: {fills}");
        let settings = ask(&venue, name, "/api/v3/account/settings").await.json();
        let hedged = settings["data"]["holdMode"] == "hedge_mode";
        assert_eq!(hedged, name == "desk-a", "{settings}");
        let truth = command(&venue, &format!("truth?account={}", name.replace("demo", "main"))).await;
        let told = truth["positions"][0]["size"].as_str().expect("a size").trim_end_matches('0');
        assert_eq!(told, size, "{name}");
        assert_eq!(truth["accounts"].as_object().map(|all| all.len()), Some(3));
    }
    assert_eq!(get(&venue, "/_exchange/truth?account=nobody").await.status, 400);
}

#[tokio::test]
async fn a_key_opens_only_with_its_own_secret_and_another_login_leaves_the_old_account() {
    let venue = three().await;
    let now_s = now_ms() / 1_000;
    for (key, secret, pass, code) in [
        ("desk-a-key", "desk-b-secret", "desk-a-pass", 30015),
        ("desk-a-key", "desk-a-secret", "desk-b-pass", 30012),
        ("desk-c-key", "desk-c-secret", "desk-c-pass", 30011),
    ] {
        let mut client = Client::connect(&venue, "/v3/ws/private").await;
        let sign = sign(secret, &format!("{now_s}GET/user/verify"));
        let args = json!([{"apiKey": key, "passphrase": pass, "timestamp": now_s, "sign": sign}]);
        client.say(&json!({"op": "login", "args": args}).to_string()).await;
        assert_eq!(client.frame().await["code"], code, "{key} {secret} {pass}");
    }
    assert_eq!(ask(&venue, "desk-c", V2_POSITIONS).await.json()["code"], "40006");
    let mut client = listener(&venue, 3, "desk-a").await;
    client.say(&login("desk-b")).await;
    client.until(|f| f["event"] == "login").await;
    heard(&mut client).await;
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.2&account=desk-a").await;
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.3&account=desk-b").await;
    let after = heard(&mut client).await;
    assert!(after.is_empty(), "logged in anew, nothing is subscribed: {after:?}");
    client.subscribe(&private(3, "positions")).await;
    let shown = client.until(|f| f["action"] == "snapshot").await;
    assert_eq!((shown["data"].as_array().map(Vec::len), &shown["data"][0]["size"]), (Some(1), &json!("0.3")));
}

#[tokio::test]
async fn a_script_moves_the_accounts_it_names_and_the_truth_log_says_whose() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("truth.jsonl");
    let venue = venue(|config| {
        config.script = ScriptChoice::Given(shipped::named("sub-accounts").expect("shipped").expect("readable"));
        config.sub_accounts = vec![SubAccount { script: ScriptChoice::Random, ..SubAccount::named("wild") }];
        config.truth = Some(file.clone());
        config.speed = trapline::venue::Speed::Times(10.0);
    })
    .await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let lines = loop {
        let text = std::fs::read_to_string(&file).expect("a truth log");
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let count = |name: &str| lines.iter().filter(|l| l["kind"] == "fill" && l["account"] == name).count();
        let counts = ["main", "desk-a", "desk-b", "wild"].map(count);
        if counts.iter().all(|fills| *fills >= 2) {
            break lines;
        }
        assert!(tokio::time::Instant::now() < deadline, "fills {counts:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let named: Vec<&String> = lines[0]["accounts"].as_object().expect("accounts").keys().collect();
    assert_eq!(named.len(), 4, "{named:?}");
    for line in
        lines.iter().filter(|l| ["order", "fill", "position", "closed", "balance"].iter().any(|k| l["kind"] == *k))
    {
        assert!(line["account"].is_string(), "{line}");
    }
    // The log of each account adds up by itself.
    for name in ["main", "desk-a", "desk-b", "wild"] {
        let account = venue.account(name).expect("an account");
        assert_eq!(account.balance() + account.fees() - account.realised() - account.funding_received(), {
            let start = &lines[0]["accounts"][name]["balance"];
            start.as_str().and_then(|text| text.parse().ok()).expect("a balance")
        });
    }
}

#[tokio::test]
async fn names_that_cannot_be_are_told() {
    let wrong = |subs: Vec<SubAccount>| async move {
        match start(VenueConfig { sub_accounts: subs, ..VenueConfig::default() }).await {
            Err(error @ VenueError::SubAccount { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("started"),
        }
    };
    let named = |names: &[&str]| names.iter().map(|name| SubAccount::named(name)).collect::<Vec<_>>();
    for (names, holds) in
        [(vec!["Desk"], "lower-case"), (vec![""], "lower-case"), (vec!["main"], "taken"), (vec!["a", "a"], "taken")]
    {
        let text = wrong(named(&names)).await;
        assert!(text.contains(holds), "{names:?}: {text}");
    }
    let twin = SubAccount { name: "twin".to_owned(), ..SubAccount::named("a") };
    assert!(wrong(vec![SubAccount::named("a"), twin]).await.contains("key"));
    let script = Script::from_json_lines(r#"{"at_ms": 0, "do": "cancel", "symbol": "$1", "account": "NO!"}"#);
    let script = ScriptChoice::Given(script.expect("readable"));
    assert!(
        start(VenueConfig { script, ..VenueConfig::default() }).await.is_err_and(|e| e.to_string().contains("NO!"))
    );
}
