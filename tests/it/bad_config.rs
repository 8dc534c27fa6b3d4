//! What the real program says about a configuration that it can't work with: exit code 78, and a message
//! that names file, line and what was expected.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use invoice_router::config::SHIPPED;
use tempfile::TempDir;

use crate::daemon::{BILLING, Daemon, PORTAL, PROGRAM, closed, far_schedule, home};

/// A daemon that starts in spite of its configuration is ended after this, which fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(configuration: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("--config")
        .arg(configuration)
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("CREDENTIALS_DIRECTORY")
        .timeout(PATIENCE)
        .output()
        .unwrap()
}

/// A directory with a right configuration, in which `right` is replaced by `wrong`.
fn altered(right: &str, wrong: &str) -> TempDir {
    let directory = home(closed(), "0 8 * * *");
    let path = directory.path().join("invoice-router.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(right), "{right}");
    fs::write(path, text.replacen(right, wrong, 1)).unwrap();
    directory
}

/// Both `check-config` and `serve` must refuse the configuration of this directory, and say all of
/// `expected`; `at` is part of the line that is wrong.
#[track_caller]
fn assert_refused(directory: &TempDir, at: Option<&str>, expected: &[&str]) {
    let path = directory.path().join("invoice-router.toml");
    let text = fs::read_to_string(&path).unwrap();
    let place = at.map(|part| {
        let line = text.lines().position(|line| line.contains(part)).unwrap() + 1;
        format!("{}:{line}: ", path.display())
    });
    for command in ["check-config", "serve"] {
        let output = run(&path, &[command]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}: {errors}");
        for words in expected.iter().copied().chain(place.as_deref()) {
            assert!(errors.contains(words), "{command}: {words:?} is not in {errors:?}");
        }
    }
    let state = fs::read_dir(directory.path().join("state")).unwrap();
    assert_eq!(state.count(), 0, "a refused configuration leaves no state");
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let directory = altered("reply_to =", "replyto =");
    assert_refused(
        &directory,
        Some("replyto"),
        &["unknown key mail.replyto, did you mean mail.reply_to?"],
    );
}

#[test]
fn a_bad_cron_expression_is_told() {
    for wrong in ["0 8 * *", "61 8 * * *", "0 8 30 2 *", "daily"] {
        let directory = altered("0 8 * * *", wrong);
        let got = format!("got \"{wrong}\"");
        let expected = ["schedules.default.cron: expected ", got.as_str()];
        assert_refused(&directory, Some("cron"), &expected);
    }
}

#[test]
fn an_unknown_time_zone_is_told() {
    let directory = altered("\"UTC\"", "\"Europe/Atlantis\"");
    let expected = ["schedules.default.time_zone: expected ", "got \"Europe/Atlantis\""];
    assert_refused(&directory, Some("time_zone"), &expected);
}

#[test]
fn a_template_that_does_not_compile_is_told_by_its_own_line() {
    let directory = altered("[mail]", "[templates]\ndirectory = \"templates\"\n[mail]");
    let template = directory.path().join("templates/de/invoice.txt");
    fs::create_dir_all(template.parent().unwrap()).unwrap();
    fs::write(&template, "{% set subject %}Rechnung{% endset %}\n{% set heading %}{{ number\n")
        .unwrap();

    assert_refused(&directory, None, &[&format!("{}:", template.display())]);
}

#[test]
fn a_secret_that_is_missing_or_malformed_is_told_without_showing_it() {
    let missing = altered("./portal-secrets", "./gone");
    let expected = ["webhook.senders.portal.secrets_file: ", "/gone cannot be read: "];
    assert_refused(&missing, Some("./gone"), &expected);

    let malformed = home(closed(), "0 8 * * *");
    fs::write(malformed.path().join("portal-secrets"), "# the portal's\nhunter2\n").unwrap();
    let expected = ["line 2 of ", "portal-secrets: expected \"whsec_\""];
    assert_refused(&malformed, Some("./portal-secrets"), &expected);
    let output = run(&malformed.path().join("invoice-router.toml"), &["check-config"]);
    assert!(!String::from_utf8(output.stderr).unwrap().contains("hunter2"));
}

#[test]
fn a_misspelt_log_level_is_told() {
    let directory = altered("[mail]", "[log]\nlevel = \"inof\"\n[mail]");
    let expected = ["log.level: expected ", "got \"inof\""];
    assert_refused(&directory, Some("inof"), &expected);
}

#[test]
fn a_directory_of_templates_that_is_not_there_is_told() {
    let directory = altered("[mail]", "[templates]\ndirectory = \"gone\"\n[mail]");
    let expected = ["templates.directory: expected a readable directory"];
    assert_refused(&directory, Some("gone"), &expected);
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
        ("admin.socket", "admin.sock", long.as_str(), false),
    ] {
        let directory = altered(right, wrong);
        let path = directory.path().join("invoice-router.toml");
        let text = fs::read_to_string(&path).unwrap();
        let (_, name) = key.split_once('.').unwrap();
        let line = text.lines().position(|line| line.starts_with(name)).unwrap() + 1;

        let output = run(&path, &["serve"]);

        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{wrong}: {errors}");
        let place = format!("{}:{line}: {key}: expected ", path.display());
        assert!(errors.contains(&place), "{wrong}: {errors}");
        let checked = run(&path, &["check-config"]);
        assert_eq!(checked.status.code(), Some(0), "{wrong}");
        let warned = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(warned.contains(&place), is_missing, "{warned}");
    }
}

#[test]
fn a_file_in_place_of_the_admin_socket_is_left_alone() {
    let directory = altered("admin.sock", "portal-secrets");
    let output = run(&directory.path().join("invoice-router.toml"), &["serve"]);
    assert_eq!(output.status.code(), Some(78));
    let file = directory.path().join("portal-secrets");
    assert_eq!(fs::read_to_string(file).unwrap(), PORTAL);
}

#[test]
fn an_address_that_is_taken_is_told_with_its_place_and_may_be_free_later() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let directory = altered("127.0.0.1:0", &taken);
    let path = directory.path().join("invoice-router.toml");
    let output = run(&path, &["serve"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let place = format!("{}:6: webhook.listen: cannot use {taken}", path.display());
    assert!(errors.contains(&place), "{errors}");
}

#[test]
fn one_secret_under_two_senders_is_told() {
    let directory = home(closed(), "0 8 * * *");
    fs::write(directory.path().join("billing-secrets"), PORTAL).unwrap();
    assert_refused(
        &directory,
        Some("./portal-secrets"),
        &["expected secrets that billing does not have too"],
    );
}

#[test]
fn what_is_no_toml_is_told() {
    let directory = altered("[admin]", "[admin");
    assert_refused(&directory, Some("[admin"), &[]);
}

#[test]
fn what_is_not_utf_8_is_told_by_its_line() {
    let directory = home(closed(), "0 8 * * *");
    let path = directory.path().join("invoice-router.toml");
    let mut bytes = fs::read(&path).unwrap();
    let lines = String::from_utf8(bytes.clone()).unwrap().lines().count();
    bytes.extend(b"# f\xfcr\n");
    fs::write(&path, bytes).unwrap();
    let output = run(&path, &["check-config"]);
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr).unwrap();
    let expected = format!("{}:{}: expected UTF-8", path.display(), lines + 1);
    assert!(errors.contains(&expected), "{errors}");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let directory = altered("\"UTC\"", "\"Europe/Atlantis\"");
    let path = directory.path().join("invoice-router.toml");
    let text = fs::read_to_string(&path).unwrap();
    let port = format!("port = {}", closed().port());
    let wrong = text.replace(&port, "port = 70_000\nport_number = 9");
    fs::write(path, wrong).unwrap();
    let expected = ["schedules.default.time_zone", "mail.smtp.port:", "mail.smtp.port_number"];
    assert_refused(&directory, None, &expected);
}

#[test]
fn a_configuration_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("invoice-router.toml");
    let output = run(&path, &["check-config"]);
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains(&format!("{}: cannot be read: ", path.display())), "{errors}");
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
    let invoices = first.json(&["invoices"]).await;
    assert_eq!(invoices["items"], serde_json::json!([]));
    assert!(first.stop().await.success());
}

#[test]
fn a_state_directory_that_holds_something_else_is_left_alone() {
    let directory = home(closed(), "0 8 * * *");
    let other = directory.path().join("state/letters.txt");
    fs::write(&other, "somebody else's").unwrap();

    let output = run(&directory.path().join("invoice-router.toml"), &["serve"]);

    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{errors}");
    let state = directory.path().join("state").display().to_string();
    assert!(errors.contains(&state), "{errors}");
    assert_eq!(fs::read_to_string(other).unwrap(), "somebody else's");
    assert!(!directory.path().join("state/CURRENT").exists());
}

#[test]
fn the_shipped_configuration_is_right_once_there_are_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("invoice-router.toml");
    fs::write(&path, SHIPPED).unwrap();
    fs::write(directory.path().join("portal-webhook-secrets"), PORTAL).unwrap();
    fs::write(directory.path().join("billing-webhook-secrets"), BILLING).unwrap();

    let output = run(&path, &["check-config", "--json"]);

    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["result"], "ok", "{value}");
    // The example's addresses are not to stay. The unit makes the directories, which may not be there.
    let warnings = value["warnings"].as_array().unwrap().iter();
    let told =
        warnings.filter(|warning| !warning.as_str().unwrap().contains("an existing directory"));
    assert_eq!(told.count(), 2, "{value}");
}
