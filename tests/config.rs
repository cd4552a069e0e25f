//! The configuration: every fault at once with its place and its remedy, no secret anywhere, and the example file
//! that is the code's own.

use secrecy::ExposeSecret;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use trapline::config::{Config, ConfigErrors, Env, Generation, Place, PositionKeyFormat};
use trapline::error::{Exit, Stop};

const CANARY: &str = "CANARY5f1e";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "trapline.toml", &Env::default())
}

fn faults(text: &str) -> ConfigErrors {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

fn example_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("trapline.example.toml")
}

#[test]
fn the_example_is_what_the_code_says() {
    let rendered = Config::example();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(example_path(), &rendered).expect("the example can be written");
    }
    let kept = fs::read_to_string(example_path()).expect("trapline.example.toml exists");
    assert_eq!(kept, rendered, "run `UPDATE_DOCS=1 cargo test --test config` and read the difference");
}

#[test]
fn the_example_without_its_comments_is_the_default_and_names_every_setting() {
    let text = fs::read_to_string(example_path()).expect("trapline.example.toml exists");
    let bare: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(parse(&bare).expect("the example is right"), Config::default());
    let tree: toml::Table = bare.parse().expect("TOML");
    for line in Config::default().described() {
        if line.path.contains("[]") {
            let name = line.path.rsplit('.').next().unwrap_or_default();
            assert!(
                text.contains(&format!("# {name} =")) || line.value.is_none(),
                "{} is not in the example",
                line.path
            );
            continue;
        }
        let mut found = Some(toml::Value::Table(tree.clone()));
        for part in line.path.split('.').filter(|part| !part.is_empty()) {
            found = found.and_then(|value| value.get(part).cloned());
        }
        assert!(found.is_some(), "{} is not in the example", line.path);
        assert!(line.docs.iter().any(|doc| doc.len() > 5), "{} has no documentation", line.path);
    }
}

#[test]
fn every_duration_and_size_says_its_unit_in_name_and_documentation() {
    for line in Config::default().described() {
        let docs = line.docs.join(" ");
        let wanted =
            [("_ms", "ms"), ("_hours", "hours"), ("_mib", "MiB"), ("_bytes", "bytes"), ("_fraction", "fraction")];
        for (suffix, word) in wanted {
            if line.path.ends_with(suffix) {
                assert!(docs.contains(word), "{}: its documentation does not say {word}: {docs}", line.path);
            }
        }
    }
}

#[test]
fn the_defaults_keep_their_own_rules() {
    Config::default().validated().expect("defaults are valid");
    assert_eq!(parse("").expect("an empty file is the default"), Config::default());
}

#[test]
fn all_faults_are_reported_at_once_each_with_its_line_and_remedy() {
    let text = "\
[exchange]
symblos = [\"BTCUSDT\"]
ping_ms = \"5s\"
pong_deadline_ms = 7
generation = \"v33\"

[redis]
url = \"http://somewhere\"
conflate = \"true\"
conflate = false

[braker]
max_leverage = 0.5

[breaker]
max_leverage = 0.5
market_ms = 1
";
    let errors = faults(text);
    let shown = errors.to_string();
    for (line, words) in [
        (2, "did you mean `symbols`?"),
        (3, "write 5000, without quotes and unit"),
        (4, "write a value from 50 to"),
        (5, "did you mean \"v3\"?"),
        (8, "unknown scheme"),
        (10, "duplicate key"),
        (12, "did you mean `breaker`?"),
        (16, "write a value from 1 to 1000"),
        (17, "did you mean `freshness.market_ms`?"),
    ] {
        let found = errors.list.iter().any(|error| {
            error.place == Place::Line(line)
                && (error.wrong.problem.contains(words) || error.wrong.remedy.contains(words))
        });
        assert!(found, "line {line} lacks '{words}' in:\n{shown}");
        assert!(shown.contains(&format!("trapline.toml:{line}: ")), "line {line} is not shown:\n{shown}");
    }
    assert!(errors.list.iter().all(|error| !error.wrong.remedy.is_empty()), "{shown}");
    assert_eq!(Stop::from(errors).exit, Exit::Config);
}

#[test]
fn a_value_is_held_to_its_type_range_and_form() {
    // (case, text, part of the fault; "" is accepted)
    let cases = [
        ("float for whole number", "[exchange]\nping_ms = 2e4", "whole number of milliseconds"),
        ("quoted number", "[exchange]\nping_ms = \"20000\"", "write 20000, without quotes"),
        ("negative", "[exchange]\nping_ms = -1", "out of range"),
        ("beyond 64 bits", "[exchange]\nping_ms = 99999999999999999999999", "out of range"),
        ("at the lower limit", "[exchange]\nping_ms = 50", ""),
        ("below it", "[exchange]\nping_ms = 49", "out of range"),
        ("at the upper limit", "[exchange]\nping_ms = 60000", ""),
        ("above it", "[exchange]\nping_ms = 60001", "out of range"),
        ("whole number for decimal", "[breaker]\nmin_margin = 250", ""),
        ("exponent for decimal", "[breaker]\nmax_slippage = 2e-3", ""),
        ("not a number", "[breaker]\nmax_slippage = nan", "finite"),
        ("infinite", "[traps]\nsweep_volume_ratio = inf", "finite"),
        ("quoted true", "[redis]\nmigrate = \"true\"", "write true, without quotes"),
        ("text for a list", "[exchange]\nsymbols = \"BTCUSDT\"", "a list in brackets"),
        ("number in a list of texts", "[exchange]\nsymbols = [1]", "text in quotes"),
        ("no symbol", "[exchange]\nsymbols = []", "0 symbols"),
        ("symbol twice", "[exchange]\nsymbols = [\"BTCUSDT\", \"BTCUSDT\"]", "stands twice"),
        ("symbol in small letters", "[exchange]\nsymbols = [\"btcusdt\"]", "in capitals"),
        ("symbol of the old interface", "[exchange]\nsymbols = [\"BTCUSDT_UMCBL\"]", "write \"BTCUSDT\""),
        ("symbol that is not ASCII", "[exchange]\nsymbols = [\"币安USDT\"]", ""),
        ("candle twice", "[exchange]\ncandles = [\"1m\", \"1m\"]", "stands twice"),
        ("candle unknown", "[exchange]\ncandles = [\"2m\"]", "one of"),
        ("no candle", "[exchange]\ncandles = []", ""),
        ("section as a value", "redis = 5", "is a section"),
        ("table for a value", "[redis.url]\nx = 1", "text in quotes"),
        ("unix socket", "[redis]\nurl = \"unix:///run/redis/redis.sock\"", ""),
        ("relative socket", "[redis]\nurl = \"unix://redis.sock\"", "absolute"),
        ("TLS with user and database", "[redis]\nurl = \"rediss://writer@redis.example:6380/2\"", ""),
        ("IPv6", "[redis]\nurl = \"redis://[::1]:6379\"", ""),
        ("database that is no number", "[redis]\nurl = \"redis://localhost/x\"", "not a Redis URL"),
        ("plain WebSocket elsewhere", "[exchange]\npublic_url = \"ws://example.org\"", "in the clear"),
        ("plain WebSocket here", "[exchange]\npublic_url = \"ws://127.0.0.1:9000\"", ""),
        ("plain WebSocket here, IPv6", "[exchange]\npublic_url = \"ws://[::1]:9000\"", ""),
        ("URL with a path", "[exchange]\npublic_url = \"wss://ws.bitget.com/v2/ws/public\"", "path is added"),
        ("wrong scheme", "[exchange]\nrest_url = \"wss://api.bitget.com\"", "unknown scheme"),
        ("status off", "[status]\nlisten = \"\"", ""),
        ("status without port", "[status]\nlisten = \"127.0.0.1\"", "address with a port"),
        ("status for all without token", "[status]\nlisten = \"0.0.0.0:8787\"", "without a token"),
        (
            "waits upside down",
            "[supervision]\nrestart_backoff_ms = 2000\nrestart_backoff_max_ms = 1000",
            "2000 is more than supervision.restart_backoff_max_ms",
        ),
        ("pauses upside down", "[exchange]\nreconnect_min_ms = 40000", "40000 is more than exchange.reconnect_max_ms"),
        ("reconciles too seldom", "[reconcile]\nevery_ms = 60001", "freshness.position_ms"),
        ("a key is wanted", "[exchange]\nprivate = \"on\"", "TRAPLINE_BITGET_KEY"),
        ("certificates without TLS", "[redis]\nca_file = \"/dev/null\"", "no use without TLS"),
        ("strategy", "[[ledger.strategies]]\nname = \"newbie\"\nside = \"buy\"", ""),
        ("strategy twice", "[[ledger.strategies]]\nname = \"a\"\n[[ledger.strategies]]\nname = \"a\"", "stands twice"),
        ("strategy misspelt", "[[ledger.strategies]]\nname = \"a\"\nsymobl = \"BTCUSDT\"", "`symbol`"),
        (
            "strategy's symbol",
            "[[ledger.strategies]]\nname = \"a\"\nsymbol = \"ETHUSDT\"",
            "not among `exchange.symbols`",
        ),
        ("strategy's name", "[[ledger.strategies]]\nname = \"a b\"", "short word"),
    ];
    for (case, text, expected) in cases {
        match (parse(text), expected) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("case {case}: accepted"),
            (Err(errors), "") => panic!("case {case}: {errors}"),
            (Err(errors), expected) => {
                let shown = errors.to_string();
                assert!(shown.contains(expected), "case {case}: '{expected}' is not in:\n{shown}");
                assert_eq!(
                    errors.list.len() - faults_of_keys(&errors),
                    1,
                    "case {case}: one cause, one fault:\n{shown}"
                );
            }
        }
    }
}

/// A missing key is three missing secrets; they count as one.
fn faults_of_keys(errors: &ConfigErrors) -> usize {
    errors.list.iter().filter(|error| error.setting.starts_with("exchange.credentials")).count().saturating_sub(1)
}

#[test]
fn variables_override_single_values_and_are_held_to_the_same_rules() {
    let env = Env::from_pairs([
        ("TRAPLINE__REDIS__URL", "redis://redis.example:6379"),
        ("TRAPLINE__EXCHANGE__GENERATION", "v2"),
        ("TRAPLINE__ALLOW_DRILLS", "true"),
        ("TRAPLINE__EXCHANGE__CREDENTIALS__KEY_FILE", ""),
        ("TRAPLINE__BREAKER__MAX_SLIPPAGE", "0.005"),
        ("TRAPLINE__STATUS__LISTEN", ""),
        ("TRAPLINE_LOG", "not one of ours"),
    ]);
    let config = Config::parse("[redis]\nurl = \"redis://here\"", "f", &env).expect("valid");
    assert_eq!(config.redis.url, "redis://redis.example:6379");
    assert_eq!(config.exchange.generation, Generation::V2);
    assert!(config.allow_drills);
    assert_eq!(config.status.address(), None, "an empty text switches off");
    assert_eq!(config.breaker.max_slippage.to_string(), "0.005");

    let env = Env::from_pairs([
        ("TRAPLINE__REDIS__ULR", "redis://x"),
        ("TRAPLINE__EXCHANGE__PING_MS", "5s"),
        ("TRAPLINE__EXCHANGE__SYMBOLS", "BTCUSDT"),
        ("TRAPLINE__RATES__TRADES_PER_MINUTE", "0"),
    ]);
    let shown = Config::parse("", "f", &env).expect_err("four faults").to_string();
    for words in [
        "did you mean TRAPLINE__REDIS__URL?",
        "environment TRAPLINE__EXCHANGE__PING_MS: exchange.ping_ms: ",
        "write 5000",
        "set it in the file",
        "environment TRAPLINE__RATES__TRADES_PER_MINUTE: rates.trades_per_minute: 0 is out of range",
        "4 faults",
    ] {
        assert!(shown.contains(words), "'{words}' is not in:\n{shown}");
    }
}

#[test]
fn a_written_configuration_reads_back_as_itself() {
    let mut config = Config::default();
    config.redis.position_key_format = PositionKeyFormat::LegacyJson;
    config.exchange.symbols = vec!["ETHUSDT".into(), "BTCUSDT".into()];
    config.spool.dir = Some("/tmp/a \"quoted\" folder".into());
    let row = trapline::config::Strategy { name: "newbie".into(), symbol: "ETHUSDT".into(), ..Default::default() };
    config.ledger.strategies = vec![row];
    assert_eq!(parse(&config.to_toml()).expect("valid"), config, "{}", config.to_toml());
}

fn secret_file(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
    path.display().to_string()
}

#[test]
fn a_secret_file_that_others_can_read_is_refused_with_the_command_that_closes_it() {
    let folder = tempfile::tempdir().expect("folder");
    for (mode, accepted) in
        [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o622, false), (0o644, false)]
    {
        let file = secret_file(folder.path(), &format!("{mode:o}"), CANARY, mode);
        let result = parse(&format!("[redis]\npassword_file = \"{file}\""));
        match result {
            Ok(config) => {
                assert!(accepted, "mode {mode:o} was accepted");
                assert_eq!(config.secrets.redis_password.expect("read").expose_secret(), CANARY);
            }
            Err(errors) => {
                assert!(!accepted, "mode {mode:o}: {errors}");
                let shown = errors.to_string();
                assert!(shown.contains(&format!("chmod 600 {file}")) && shown.contains("trapline.toml:2"), "{shown}");
                assert!(!shown.contains(CANARY), "{shown}");
            }
        }
    }
}

#[test]
fn secrets_come_from_files_systemd_or_the_environment_in_this_order() {
    let folder = tempfile::tempdir().expect("folder");
    let given = folder.path().join("credentials");
    fs::create_dir(&given).expect("folder");
    secret_file(&given, "bitget_key", "from-systemd\n", 0o440);
    let file = secret_file(folder.path(), "secret", "from-file\n", 0o600);
    let given = given.display().to_string();
    let env = Env::from_pairs([
        ("CREDENTIALS_DIRECTORY", given.as_str()),
        ("TRAPLINE_BITGET_KEY", "from-environment"),
        ("TRAPLINE_BITGET_SECRET", "from-environment"),
        ("TRAPLINE_BITGET_PASSPHRASE", "from-environment"),
    ]);
    let text = format!("[exchange]\nprivate = \"on\"\n[exchange.credentials]\nsecret_file = \"{file}\"");
    let found = Config::parse(&text, "f", &env).expect("valid").secrets.bitget.expect("complete");
    assert_eq!(found.key.expose_secret(), "from-systemd");
    assert_eq!(found.secret.expose_secret(), "from-file");
    assert_eq!(found.passphrase.expose_secret(), "from-environment");
}

#[test]
fn half_a_key_names_what_is_missing_and_none_is_public_data_only() {
    assert!(parse("").expect("valid").secrets.bitget.is_none());
    let env = Env::from_pairs([("TRAPLINE_BITGET_KEY", CANARY)]);
    let shown = Config::parse("", "f", &env).expect_err("half a key").to_string();
    for words in ["TRAPLINE_BITGET_SECRET", "TRAPLINE_BITGET_PASSPHRASE", "2 faults"] {
        assert!(shown.contains(words), "'{words}' is not in:\n{shown}");
    }
    let shown = faults("[exchange.credentials]\nkey_file = \"/nonexistent/key\"").to_string();
    assert!(shown.contains("cannot read /nonexistent/key") && shown.contains("3 faults"), "{shown}");
}

#[test]
fn no_secret_is_ever_repeated() {
    let folder = tempfile::tempdir().expect("folder");
    let file = secret_file(folder.path(), "s", CANARY, 0o600);
    let text = format!(
        "[exchange.credentials]\nkey_file = \"{file}\"\nsecret_file = \"{file}\"\npassphrase_file = \"{file}\"\n\
         [redis]\npassword_file = \"{file}\"\n[status]\ntoken_file = \"{file}\""
    );
    let config = parse(&text).expect("valid");
    for shown in [format!("{config:?}"), format!("{config:#?}"), config.to_toml(), Config::example()] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let env = Env::from_pairs([("TRAPLINE_BITGET_KEY", CANARY)]);
    assert!(!format!("{env:?}").contains(CANARY));

    // What people do write into a configuration; the fault must not carry it on into a log.
    for text in [
        format!("[exchange.credentials]\nsecret = \"{CANARY}\""),
        format!("[exchange.credentials]\nkey = \"{CANARY}\""),
        format!("[exchange]\napi_secret = \"{CANARY}\""),
        format!("[exchange]\ngeneration = \"{CANARY}\""),
        format!("[exchange]\nping_ms = \"{CANARY}\""),
        format!("[exchange]\nsymbols = [\"{}\"]", CANARY.to_lowercase()),
        format!("[exchange]\nrest_url = \"https://user:{CANARY}@api.bitget.com\""),
        format!("[redis]\nurl = \"redis://:{CANARY}@localhost\""),
        format!("[redis]\nurl = \"redis://writer:{CANARY}@localhost:6379/0\""),
        format!("[redis]\npassword = \"{CANARY}\""),
        format!("[redis]\npassword = \"{CANARY}"),
        format!("[redis]\npassword = {CANARY}"),
        format!("[redis]\nurl = \"redis://localhost\"\nurl = \"redis://:{CANARY}@localhost\""),
        format!("[status]\nlisten = \"{CANARY}\""),
        format!("[log]\nlevel = \"{CANARY}\""),
    ] {
        let errors = faults(&text);
        for shown in [errors.to_string(), format!("{errors:?}")] {
            assert!(!shown.to_lowercase().contains(&CANARY.to_lowercase()), "{text}\n{shown}");
        }
    }
    let env = Env::from_pairs([
        ("TRAPLINE__REDIS__URL", "redis://:CANARY5f1e@localhost"),
        ("TRAPLINE__EXCHANGE__PING_MS", CANARY),
        ("TRAPLINE__REDIS__PASSWORD", CANARY),
    ]);
    let shown = Config::parse("", "f", &env).expect_err("faults").to_string();
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_with_a_next_step() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("none.toml");
    let shown = Config::load(&missing, &Env::default()).expect_err("missing").to_string();
    assert!(shown.contains("trapline.example.toml"), "{shown}");
    let large = folder.path().join("large.toml");
    fs::write(&large, vec![b'#'; 1_048_577]).expect("written");
    let shown = Config::load(&large, &Env::default()).expect_err("large").to_string();
    assert!(shown.contains("larger than 1 MiB"), "{shown}");
    fs::write(&large, [0xff, 0xfe]).expect("written");
    let shown = Config::load(&large, &Env::default()).expect_err("binary").to_string();
    assert!(shown.contains("UTF-8"), "{shown}");
}

#[test]
fn the_state_folder_follows_the_machine_s_conventions() {
    let config = Config::default();
    for (case, pairs, expected) in [
        ("systemd", vec![("STATE_DIRECTORY", "/var/lib/trapline:/x"), ("HOME", "/h")], "/var/lib/trapline"),
        ("XDG", vec![("XDG_STATE_HOME", "/s"), ("HOME", "/h")], "/s/trapline"),
        ("home", vec![("HOME", "/h")], "/h/.local/state/trapline"),
    ] {
        assert_eq!(config.state_dir(&Env::from_pairs(pairs)), Path::new(expected), "case: {case}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[\\[\\]a-z_= \"0-9.\n{}#é-]{0,200}") {
        _ = parse(&text);
    }

    #[test]
    fn a_damaged_example_is_read_or_refused_without_a_panic(at in 0_usize..20_000, junk in "\\PC{0,8}") {
        let mut text = Config::example();
        let mut at = at % text.len();
        while !text.is_char_boundary(at) { at -= 1; }
        text.insert_str(at, &junk);
        _ = parse(&text);
    }
}
