//! What the real program says about a configuration that it can't work with: exit code 78, and a message
//! that names file, line and what was expected. Which values are wrong, the tests of `src/config` show.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use assert_cmd::Command;
use invoice_router::config::SHIPPED;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{BILLING, Daemon, PORTAL, PROGRAM, alter, closed, far_schedule, home};

/// A daemon that starts in spite of its configuration is ended after this, which fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("invoice-router.toml")
}

/// Runs the program with the configuration of this directory; its exit code, and what it says, on standard output and
/// as errors.
fn run(directory: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM)
        .arg("--config")
        .arg(file(directory))
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("CREDENTIALS_DIRECTORY")
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), said, errors)
}

/// A directory with a right configuration, in which `right` is replaced by `wrong`.
#[track_caller]
fn altered(right: &str, wrong: &str) -> TempDir {
    let directory = home(closed(), "0 8 * * *");
    alter(&directory, right, wrong);
    directory
}

/// The first line of the file with this part, as errors name it.
fn place(directory: &TempDir, part: &str) -> String {
    let text = fs::read_to_string(file(directory)).unwrap();
    let line = text.lines().position(|line| line.contains(part)).unwrap() + 1;
    format!("{}:{line}: ", file(directory).display())
}

/// Both `check-config` and `serve` must refuse the configuration of this directory, and say all of
/// `expected`.
#[track_caller]
fn assert_refused(directory: &TempDir, expected: &[&str]) {
    for command in ["check-config", "serve"] {
        let (code, _, errors) = run(directory, &[command]);
        assert_eq!(code, Some(78), "{command}: {errors}");
        for words in expected {
            assert!(errors.contains(words), "{command}: {words:?} is not in {errors:?}");
        }
    }
    let state = fs::read_dir(directory.path().join("state")).unwrap();
    assert_eq!(state.count(), 0, "a refused configuration leaves no state");
}

#[test]
fn each_mistake_is_named_with_its_line_and_what_was_expected() {
    for (right, wrong, at, expected) in [
        (
            "reply_to =",
            "replyto =",
            "replyto",
            "unknown key mail.replyto, did you mean mail.reply_to?",
        ),
        ("0 8 * * *", "0 8 * *", "cron", "schedules.default.cron: expected "),
        ("0 8 * * *", "61 8 * * *", "cron", "schedules.default.cron: expected "),
        ("0 8 * * *", "0 8 30 2 *", "cron", "schedules.default.cron: expected "),
        ("0 8 * * *", "daily", "cron", "schedules.default.cron: expected "),
        ("\"UTC\"", "\"Europe/Atlantis\"", "zone", "schedules.default.time_zone: expected "),
        ("./portal-secrets", "./gone", "./gone", "webhook.senders.portal.secrets_file: "),
        ("./portal-secrets", "./gone", "./gone", "/gone cannot be read: "),
        ("[mail]", "[log]\nlevel = \"inof\"\n[mail]", "inof", "log.level: expected "),
        (
            "[mail]",
            "[templates]\ndirectory = \"gone\"\n[mail]",
            "gone",
            "templates.directory: expected a readable directory",
        ),
        ("./billing-secrets", "./portal-secrets", "./portal-secrets", "billing does not have too"),
        ("[admin]", "[admin", "[admin", ""),
    ] {
        let directory = altered(right, wrong);
        assert_refused(&directory, &[&place(&directory, at), expected]);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let directory = altered("\"UTC\"", "\"Europe/Atlantis\"");
    let port = format!("port = {}", closed().port());
    alter(&directory, &port, "port = 70_000\nport_number = 9");
    let expected = ["schedules.default.time_zone", "mail.smtp.port:", "mail.smtp.port_number"];
    assert_refused(&directory, &expected);
}

#[test]
fn a_template_that_does_not_compile_is_told_by_its_own_line() {
    let directory = altered("[mail]", "[templates]\ndirectory = \"templates\"\n[mail]");
    let template = directory.path().join("templates/de/invoice.txt");
    fs::create_dir_all(template.parent().unwrap()).unwrap();
    let text = "{% set subject %}Rechnung{% endset %}\n{% set heading %}{{ number\n";
    fs::write(&template, text).unwrap();
    assert_refused(&directory, &[&format!("{}:", template.display())]);
}

#[test]
fn a_secret_that_is_malformed_is_told_without_showing_it() {
    let directory = home(closed(), "0 8 * * *");
    fs::write(directory.path().join("portal-secrets"), "# the portal's\nhunter2\n").unwrap();
    let place = place(&directory, "./portal-secrets");
    assert_refused(&directory, &[&place, "line 2 of ", "portal-secrets: expected \"whsec_\""]);
    assert!(!run(&directory, &["check-config"]).2.contains("hunter2"));
}

/// `check-config` may run before the service manager has made these: it warns.
#[test]
fn what_the_daemon_cannot_use_on_this_machine_is_told_at_its_start() {
    let long = format!("{}.sock", "s".repeat(200));
    for (key, right, wrong, is_missing) in [
        ("state.directory", "\"state\"", "\"gone\"", true),
        ("state.directory", "\"state\"", "\"portal-secrets\"", true),
        ("admin.socket", "admin.sock", "gone/admin.sock", true),
        ("admin.socket", "admin.sock", "state", false),
        ("admin.socket", "admin.sock", "portal-secrets", false),
        ("admin.socket", "admin.sock", long.as_str(), false),
    ] {
        let directory = altered(right, wrong);
        let (_, name) = key.split_once('.').unwrap();
        let place = format!("{}{key}: expected ", place(&directory, name));
        let (code, _, errors) = run(&directory, &["serve"]);
        assert_eq!(code, Some(78), "{wrong}: {errors}");
        assert!(errors.contains(&place), "{wrong}: {errors}");
        let (code, warned, _) = run(&directory, &["check-config"]);
        assert_eq!(code, Some(0), "{wrong}");
        assert_eq!(warned.contains(&place), is_missing, "{warned}");
        // A file in place of the socket is left alone.
        let file = directory.path().join("portal-secrets");
        assert_eq!(fs::read_to_string(file).unwrap(), PORTAL);
    }
}

#[test]
fn an_address_that_is_taken_is_told_with_its_place_and_may_be_free_later() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let directory = altered("127.0.0.1:0", &taken);
    let (code, _, errors) = run(&directory, &["serve"]);
    assert_eq!(code, Some(1), "{errors}");
    let place = place(&directory, &taken);
    assert!(errors.contains(&format!("{place}webhook.listen: cannot use {taken}")), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_utf_8_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory);
    for (content, expected) in
        [(None, ": cannot be read: "), (Some(b"[log]\n# f\xfcr\n"), ":2: expected UTF-8")]
    {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let (code, _, errors) = run(&directory, &["check-config"]);
        assert_eq!(code, Some(78));
        assert!(errors.contains(&format!("{}{expected}", path.display())), "{errors}");
    }
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused_and_the_first_works_on() {
    let mut first = Daemon::start_in(home(closed(), &far_schedule())).await;

    let second = first.command(&["serve"]).await;

    let errors = String::from_utf8(second.stderr).unwrap();
    // The first may be about to end, so that another try can help: no code that forbids a restart.
    assert_eq!(second.status.code(), Some(1), "{errors}");
    let state = first.home().join("state").display().to_string();
    assert!(errors.contains(&state), "{errors}");
    assert_eq!(first.json(&["invoices"]).await["items"], json!([]));
    assert!(first.stop().await.success());
}

#[test]
fn a_state_directory_that_holds_something_else_is_left_alone() {
    let directory = home(closed(), "0 8 * * *");
    let state = directory.path().join("state");
    let other = state.join("letters.txt");
    fs::write(&other, "somebody else's").unwrap();
    let (code, _, errors) = run(&directory, &["serve"]);
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains(&state.display().to_string()), "{errors}");
    assert_eq!(fs::read_to_string(other).unwrap(), "somebody else's");
    assert!(!state.join("CURRENT").exists());
}

#[test]
fn the_shipped_configuration_is_right_once_there_are_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("invoice-router.toml", SHIPPED);
    write("portal-webhook-secrets", PORTAL);
    write("billing-webhook-secrets", BILLING);
    let (code, said, errors) = run(&directory, &["check-config", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(value["result"], "ok", "{value}");
    // The example's addresses are not to stay. The unit makes the directories, which may not be there.
    let warnings = value["warnings"].as_array().unwrap().iter();
    let told =
        warnings.filter(|warning| !warning.as_str().unwrap().contains("an existing directory"));
    assert_eq!(told.count(), 2, "{value}");
}
