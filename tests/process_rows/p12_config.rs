//! P12: a wrong configuration ends the start with 78; every fault is told at once, with its line and what to write
//! instead, and no secret is repeated.

use crate::support::BIN;
use crate::support::figures::Figures;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `trapline run` with this text; exit code and what it said.
fn run(folder: &std::path::Path, text: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let file = folder.join("trapline.toml");
    std::fs::write(&file, text).expect("configuration");
    let mut command = Command::new(BIN);
    command.arg("run").arg("--config").arg(&file).envs(env.iter().copied());
    let output = command.output().expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn p12_configuration_errors_are_told_all_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "CANARY-in-a-file\n").expect("secret");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).expect("mode");
    let open = secret.to_str().expect("a path").to_owned();
    // Name, text, variables, and words that have to stand in what is said.
    let cases: Vec<(&str, String, Vec<(&str, &str)>, Vec<&str>)> = vec![
        (
            "an unknown key",
            "[exchange]\nsymblos = [\"BTCUSDT\"]\n".into(),
            vec![],
            vec!["toml:2", "did you mean `symbols`?"],
        ),
        (
            "a wrong unit",
            "[exchange]\nping_ms = \"5s\"\n".into(),
            vec![],
            vec!["toml:2", "write 5000, without quotes and unit"],
        ),
        (
            "a symbol twice",
            "[exchange]\nsymbols = [\"BTCUSDT\", \"btcusdt\"]\n".into(),
            vec![],
            vec!["toml:2", "BTCUSDT"],
        ),
        (
            "half a secret",
            String::new(),
            vec![("TRAPLINE_BITGET_KEY", "CANARY-key"), ("TRAPLINE_BITGET_SECRET", "CANARY-secret")],
            vec!["TRAPLINE_BITGET_PASSPHRASE"],
        ),
        (
            "a secret that others can read",
            format!(
                "[exchange.credentials]\nkey_file = {open:?}\nsecret_file = {open:?}\npassphrase_file = {open:?}\n"
            ),
            vec![],
            vec!["toml:2", "chmod 600"],
        ),
        (
            "out of range",
            "[breaker]\nmax_leverage = 0.5\n".into(),
            vec![],
            vec!["toml:2", "write a value from 1 to 1000"],
        ),
        ("no toml", "[exchange\n".into(), vec![], vec!["toml:1"]),
        (
            "a wrong variable",
            String::new(),
            vec![("TRAPLINE__REDIS__URL", "http://CANARY-host")],
            vec!["environment TRAPLINE__REDIS__URL"],
        ),
    ];
    let mut told = 0;
    for (name, text, env, words) in &cases {
        let (code, said) = run(folder.path(), text, env);
        assert_eq!(code, Some(78), "case: {name}: {said}");
        for word in words {
            assert!(said.contains(word), "case: {name}: {word:?} is not in:\n{said}");
        }
        assert!(said.contains("nothing was started"), "case: {name}: {said}");
        assert!(!said.contains("CANARY"), "case: {name}: a secret is repeated:\n{said}");
        told += 1;
    }
    // All of them in one file: all told, in the order of the file.
    let all = format!(
        "[exchange]\nsymblos = [\"BTCUSDT\"]\nping_ms = \"5s\"\nsymbols = [\"BTCUSDT\", \"btcusdt\"]\n\
         [exchange.credentials]\nkey_file = {open:?}\n[breaker]\nmax_leverage = 0.5\n[state]\ndir = \"\"\n"
    );
    let (code, said) = run(folder.path(), &all, &[]);
    assert_eq!(code, Some(78), "{said}");
    let places: Vec<usize> =
        said.lines().filter_map(|l| l.split(".toml:").nth(1)?.split(':').next()?.parse().ok()).collect();
    assert!([2, 3, 4, 8].iter().all(|line| places.contains(line)), "{said}");
    assert!(places.is_sorted(), "{said}");
    let hints = said.lines().filter(|line| line.starts_with("    ")).count();
    assert!(hints >= places.len(), "each with what to do:\n{said}");
    Figures {
        row: "P12",
        fault: "errors in the configuration",
        injected: told + 1,
        detected: told + 1,
        escalated: told + 1,
        ..Figures::default()
    }
    .publish();
}
