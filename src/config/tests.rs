//! What a configuration means, and how its mistakes are reported.

use std::fmt::Write as _;
use std::fs;

use chrono::SecondsFormat;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;
use crate::domain::id::ScheduleName;

const ORIGIN: &str = "test.toml";
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let environment =
        Environment { directory: PathBuf::from("/etc/invoice-router"), credentials: None };
    Config::parse(text, ORIGIN, &environment)
}

/// The errors of a configuration, a line each.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).unwrap_err();
    errors.0.iter().map(ToString::to_string).collect()
}

/// A configuration beside which the given files lie.
fn with_files(text: &str, files: &[(&str, &str)]) -> (TempDir, Config) {
    let directory = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let environment = Environment { directory: directory.path().to_owned(), credentials: None };
    let config = Config::parse(text, ORIGIN, &environment).unwrap();
    (directory, config)
}

#[test]
fn the_shipped_file_is_the_configuration_of_who_has_none() {
    let config = parse("").unwrap();

    assert_eq!(config.state.directory, Path::new("/var/lib/invoice-router"));
    assert_eq!(config.mail.message_id_domain.as_str(), "example.com");
    assert_eq!(config.mail.envelope_from, config.mail.from.address);
    assert_eq!(next(&config, "default"), "2026-12-01T07:00:00Z", "every morning, in Berlin");
    assert!(config.admin.listen.is_none());
    let Transport::Smtp(smtp) = &config.mail.transport else {
        panic!("mails must leave the house by default");
    };
    assert_eq!(smtp.timeouts.final_dot, Duration::from_secs(600));
    let senders: Vec<(&str, bool)> = config
        .webhook
        .senders
        .iter()
        .map(|(name, sender)| (name.as_str(), sender.accounts))
        .collect();
    assert_eq!(senders, [("billing", false), ("portal", true)]);
}

/// Each optional key of the shipped file with its example.
fn with_optional_keys() -> String {
    SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') && example.contains(" = ") => example,
            Some(_) | None => line,
        })
        .fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").unwrap();
            text
        })
}

#[test]
fn every_key_of_the_shipped_file_is_known_and_its_examples_are_valid() {
    let text = with_optional_keys();

    let config = parse(&text).unwrap();

    assert!(config.admin.listen.is_some());
    assert!(config.templates.directory.is_some());
    assert_eq!(config.mail.message_id_domain.as_str(), "invoices.example.com");
}

#[test]
fn every_known_key_is_in_the_shipped_file() {
    let mut layers = Layers::default();
    let text = with_optional_keys();
    let senders = KeyPath::new("webhook.senders");
    layers.lay(&text, ORIGIN, &senders).unwrap();
    let environment = Environment::default();
    let mut reader = reader::Reader::new(&layers, &environment);

    assert!(sections::all(&mut reader).is_ok());

    let written: Vec<String> = layers.entries.keys().map(ToString::to_string).collect();
    let known: Vec<String> = reader.asked.iter().map(ToString::to_string).collect();
    assert_eq!(known, written);
}

/// When a schedule fires next after the last midnight of November 2026, in UTC.
fn next(config: &Config, schedule: &str) -> String {
    let after = "2026-11-30T23:59:59Z".parse().unwrap();
    let next = config.schedules.next_after(&ScheduleName::parse(schedule).unwrap(), after);
    next.unwrap().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[test]
fn a_file_needs_only_what_differs() {
    let config = parse("[webhook]\nconnections = 7\n[schedules.default]\ncron = \"0 9 * * 1\"\n");

    let config = config.unwrap();
    assert_eq!(config.webhook.limits.connections, 7);
    assert_eq!(config.webhook.limits.header_time, Duration::from_secs(10));
    let default = config.schedules.get_or_default(&ScheduleName::default()).unwrap();
    assert_eq!(next(&config, "default"), "2026-12-07T08:00:00Z");
    assert!(default.catch_up);
}

#[test]
fn a_further_schedule_takes_what_it_leaves_out_from_the_default_one() {
    let config = parse(
        "[schedules.\"month end\"]\ncron = \"0 9 1 * *\"\n[schedules.default]\ntime_zone = \"UTC\"\n",
    )
    .unwrap();

    assert_eq!(config.schedules.iter().count(), 2);
    assert_eq!(next(&config, "month end"), "2026-12-01T09:00:00Z");
    assert_eq!(
        errors("[schedules.weekly]\ncatch_up = true\n"),
        ["test.toml:1: schedules.weekly.cron: expected a value, since it has no default"]
    );
}

#[test]
fn senders_of_a_file_replace_the_shipped_ones() {
    let config =
        parse("[webhook.senders.all]\nsecrets_file = \"k\"\nmay = [\"accounts\", \"invoices\"]\n");

    let senders = config.unwrap().webhook.senders;
    assert_eq!(senders.len(), 1);
    assert_eq!(
        errors("[webhook.senders]\n"),
        ["test.toml:1: webhook.senders: expected at least one sender, [webhook.senders.NAME]"]
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    for (text, expected) in [
        (
            "[webhook]\nlisten = \"127.0.0.1:1\"\nconections = 5\n",
            "test.toml:3: unknown key webhook.conections, did you mean webhook.connections?",
        ),
        (
            "\n[webhok]\nlisten = \"127.0.0.1:1\"\n",
            "test.toml:3: unknown key webhok.listen, did you mean webhook.listen?",
        ),
        (
            "[mail]\nhost = \"relay.example\"\n",
            "test.toml:2: unknown key mail.host, did you mean mail.smtp.host?",
        ),
        (
            "[schedules.default]\ncorn = \"0 9 * * *\"\n",
            "test.toml:2: unknown key schedules.default.corn, did you mean schedules.default.cron?",
        ),
        ("[x]\ncolour = 1\n", "test.toml:2: unknown key x.colour"),
        ("[templats]\n", "test.toml:1: unknown key templats, did you mean templates?"),
    ] {
        assert_eq!(errors(text), [expected]);
    }
}

#[test]
fn each_wrong_value_is_told_with_line_key_and_what_was_expected() {
    for (text, expected) in [
        (
            "[webhook]\nlisten = 80\n",
            "test.toml:2: webhook.listen: expected a text in quotes, got 80",
        ),
        (
            "[webhook]\nconnections = 0\n",
            "test.toml:2: webhook.connections: expected an integer from 1 to 10000, got 0",
        ),
        (
            "[webhook]\nheader_seconds = -1\n",
            "test.toml:2: webhook.header_seconds: expected an integer from 1 to 3600 seconds, got -1",
        ),
        (
            "[webhook]\nbody_seconds = 1.5\n",
            "test.toml:2: webhook.body_seconds: expected an integer from 1 to 3600 seconds, got 1.5",
        ),
        (
            "[webhook]\nlisten = {}\n",
            "test.toml:2: webhook.listen: expected a text in quotes, got a table",
        ),
        ("mail = \"smtp\"\n", "test.toml:1: mail: expected a table, got \"smtp\""),
        ("[webhook]\nsenders = 5\n", "test.toml:2: webhook.senders: expected a table, got 5"),
        (
            "[[schedules.default]]\ncron = \"0 9 * * *\"\n",
            "test.toml:1: schedules.default: expected a table, got [a table]",
        ),
        (
            "[billing]\ngroups = []\n",
            "test.toml:2: billing.groups: expected at least one billing group, got []",
        ),
        (
            "[schedules.default]\ntime_zone = \"Berlin\"\n",
            "test.toml:2: schedules.default.time_zone: expected an IANA time zone such as \
             \"Europe/Berlin\" or \"UTC\", got \"Berlin\"",
        ),
        (
            "[schedules.default]\ncatch_up = \"yes\"\n[schedules.x]\ncron = \"@daily\"\n",
            "test.toml:2: schedules.default.catch_up: expected true or false, got \"yes\"",
        ),
        (
            "[mail.smtp]\nhost = \"relay:25\"\n",
            "test.toml:2: mail.smtp.host: expected a host name or an IP address, without port, \
             got \"relay:25\"",
        ),
        (
            "[mail]\ntransport = \"sendmail\"\n",
            "test.toml:2: mail.transport: expected \"smtp\" or \"file\", got \"sendmail\"",
        ),
        (
            "[webhook.senders.p]\nsecrets_file = \"k\"\nmay = [\"everything\"]\n",
            "test.toml:3: webhook.senders.p.may: expected a list of \"accounts\" and \
             \"invoices\", got [\"everything\"]",
        ),
        ("[state]\ndirectory = \"\"\n", "test.toml:2: state.directory: expected a path, got \"\""),
    ] {
        assert_eq!(errors(text), [expected]);
    }
}

#[test]
fn rules_between_keys_hold() {
    for (text, place) in [
        (
            "[webhook]\ndocument_bytes = 30_000_000\n",
            "test.toml:2: webhook.document_bytes: expected webhook.document_bytes to be at most ",
        ),
        (
            "[mail]\nmessage_bytes = 10_240_000\n",
            "test.toml:2: mail.message_bytes: expected webhook.document_bytes to be at most 7",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:1\"\n",
            "test.toml:2: admin.listen: expected admin.tokens_file",
        ),
        ("[admin]\ntokens_file = \"t\"\n", "test.toml:2: admin.tokens_file: expected admin.listen"),
        (
            "[mail.smtp]\nusername = \"u\"\n",
            "test.toml:2: mail.smtp.username: expected mail.smtp.password_file",
        ),
        (
            "[mail.smtp]\nhost = \"relay.example\"\nusername = \"u\"\npassword_file = \"p\"\nsecurity = \"none\"\n",
            "test.toml:5: mail.smtp.security: expected mail.smtp.security to be \"tls\" or",
        ),
        (
            "[mail.smtp]\nhost = \"relay.example\"\nusername = \"u\"\npassword_file = \"p\"\n",
            "test.toml:3: mail.smtp.username: expected mail.smtp.security to be \"tls\" or",
        ),
        (
            "[retry]\nfirst_delay_seconds = 20_000\n",
            "test.toml:2: retry.first_delay_seconds: expected retry.max_delay_seconds to be at least",
        ),
        (
            "[retry]\ngive_up_after_seconds = 3600\n",
            "test.toml:2: retry.give_up_after_seconds: expected retry.give_up_after_seconds to be",
        ),
        (
            "[webhook.senders.\"a b\"]\nsecrets_file = \"k\"\nmay = [\"invoices\"]\n",
            "test.toml:1: webhook.senders.\"a b\": expected a name of 1 to 64 letters",
        ),
    ] {
        let errors = errors(text);
        assert!(errors.len() == 1 && errors[0].starts_with(place), "{errors:?}");
    }
    assert!(
        parse("[mail.smtp]\nhost = \"::1\"\nusername = \"u\"\npassword_file = \"p\"\n").is_ok()
    );
}

#[test]
fn a_value_judged_elsewhere_gets_its_place() {
    let config = parse("[log]\n\nlevel = \"loud\"\n").unwrap();
    let error = config.error_at("log.level", "a level");

    assert_eq!(error.to_string(), "test.toml:3: log.level: expected a level, got \"loud\"");
}

#[test]
fn a_bare_file_name_is_a_credential_where_there_are_credentials() {
    let environment = Environment {
        directory: PathBuf::from("/etc/invoice-router"),
        credentials: Some(PathBuf::from("/run/credentials/x")),
    };
    for (file, credentials, none) in [
        ("key", "/run/credentials/x/key", "/etc/invoice-router/key"),
        ("./key", "/etc/invoice-router/./key", "/etc/invoice-router/./key"),
        ("/srv/key", "/srv/key", "/srv/key"),
    ] {
        let without = Environment { credentials: None, ..environment.clone() };
        assert_eq!(environment.file(file).unwrap(), Path::new(credentials));
        assert_eq!(without.file(file).unwrap(), Path::new(none));
    }
    assert_eq!(environment.path("mail").unwrap(), Path::new("/etc/invoice-router/mail"));
}

#[test]
fn a_sender_may_have_several_keys_and_comments_between_them() {
    let portal = format!("# old\n{KEY}\n\n  {OTHER_KEY}  \n");
    let billing = "whsec_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";
    let (_directory, config) = with_files(
        "",
        &[("portal-webhook-secrets", &portal), ("billing-webhook-secrets", billing)],
    );

    let secrets = config.secrets().unwrap();

    let portal = secrets.access.senders.get(&SenderName::parse("portal").unwrap()).unwrap();
    assert_eq!(portal.secrets.len(), 2);
    let first: Vec<u8> = (0..32).collect();
    assert_eq!(portal.secrets[0].expose(), first);
}

#[test]
fn a_missing_secrets_file_is_told_with_how_to_make_one() {
    let (directory, config) = with_files("", &[("billing-webhook-secrets", KEY)]);

    let error = config.secrets().unwrap_err().to_string();

    let path = directory.path().join("portal-webhook-secrets");
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert!(error.contains("openssl rand -base64 32"), "{error}");
}

#[test]
fn a_wrong_secret_is_told_by_its_line_and_never_shown() {
    let short = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY=";
    for wrong in [short, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_!"] {
        let (_directory, config) = with_files(
            "",
            &[
                ("portal-webhook-secrets", &format!("{KEY}\n{wrong}\n")),
                ("billing-webhook-secrets", OTHER_KEY),
            ],
        );

        let error = config.secrets().unwrap_err();

        assert!(error.to_string().contains(": line 2 of "), "{error}");
        assert!(!format!("{error} {error:?}").contains(wrong), "{error}");
    }
    for given in [
        format!("\"{KEY}\""),
        format!("\" {KEY}\""),
        format!("[\"{KEY}\", \"{OTHER_KEY}\"]"),
        format!("{{ old = \"{KEY}\" }}"),
    ] {
        let errors =
            errors(&format!("[webhook.senders.p]\nmay = [\"invoices\"]\nsecrets_file = {given}\n"));
        assert!(!errors.is_empty(), "{given}");
        assert!(!errors.concat().contains(KEY), "{errors:?}");
    }
}

#[test]
fn secrets_are_read_and_never_shown() {
    let text = "[mail.smtp]\nusername = \"u\"\npassword_file = \"password\"\n\
                [admin]\nlisten = \"127.0.0.1:1\"\ntokens_file = \"tokens\"\n";
    let digest = "9f".repeat(32);
    let (_directory, config) = with_files(
        text,
        &[
            ("portal-webhook-secrets", KEY),
            ("billing-webhook-secrets", OTHER_KEY),
            ("password", "hunter2 \nnot this\n"),
            ("tokens", &format!("# staff\nerika operate {digest}\n")),
        ],
    );

    let secrets = config.secrets().unwrap();

    let password = secrets.smtp_password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "hunter2 ");
    assert_eq!(secrets.access.tokens[0].right, Right::Operate);
    let shown = format!("{config:?} {secrets:?}");
    for secret in ["hunter2", &digest, KEY, "[0, 1, 2, 3"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn a_token_line_that_is_not_three_words_is_refused() {
    let digest = "9f".repeat(32);
    for wrong in [
        String::new(),
        "erika read".to_owned(),
        format!("erika write {digest}"),
        format!("erika read {digest} x"),
        format!("erika read {digest}\nerika operate {}", "8e".repeat(32)),
        format!("erika read {digest}\nmax operate {digest}"),
    ] {
        let (_directory, config) = with_files(
            "[admin]\nlisten = \"127.0.0.1:1\"\ntokens_file = \"tokens\"\n",
            &[
                ("portal-webhook-secrets", KEY),
                ("billing-webhook-secrets", OTHER_KEY),
                ("tokens", &wrong),
            ],
        );
        assert!(config.secrets().is_err(), "{wrong}");
    }
}

#[test]
fn the_example_addresses_are_warned_of() {
    let warned = |text: &str| -> Vec<String> {
        let warnings = parse(text).unwrap().warnings();
        warnings.iter().map(ToString::to_string).collect()
    };
    let own = "[mail]\nfrom = \"r@muster.example\"\nreply_to = \"r@muster.example\"\n";

    assert_eq!(warned("").len(), 2);
    assert!(warned("[mail]\ntransport = \"file\"\n").is_empty());
    assert!(warned(own).is_empty());
    let in_clear = warned(&format!("{own}[mail.smtp]\nhost = \"relay.example\"\n"));
    assert!(in_clear.len() == 1 && in_clear[0].contains("mail.smtp.security"), "{in_clear:?}");
}

#[test]
fn relative_paths_lie_beside_the_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("router.toml");
    fs::write(&path, "[state]\ndirectory = \"data\"\n").unwrap();

    let config = Config::load(Some(&path)).unwrap();

    assert_eq!(config.state.directory, directory.path().join("data"));
    let at = config.at(&KeyPath::new("state.directory"));
    assert_eq!(at.to_string(), format!("{}:2", path.display()));
}

#[test]
fn each_limit_is_that_of_the_key_with_its_name() {
    let config = parse(
        "[webhook]\nevent_body_bytes = 70_001\ndocument_bytes = 70_002\n\
         unused_documents_bytes = 2_000_003\nconnections = 504\nconnections_per_peer = 105\n\
         requests_per_connection = 1_006\nsender_requests_per_second = 207\nheader_bytes = 9_008\n\
         header_seconds = 9\nbody_seconds = 19\n",
    )
    .unwrap();
    assert_eq!(
        config.webhook.limits,
        Limits {
            event_body_bytes: 70_001,
            document_bytes: 70_002,
            bodies_bytes: 128 * 1024 * 1024,
            connections: 504,
            connections_per_peer: 105,
            requests_per_connection: 1_006,
            sender_requests_per_second: 207,
            header_bytes: 9_008,
            header_time: Duration::from_secs(9),
            body_time: Duration::from_secs(19),
        }
    );
    assert_eq!(config.webhook.unused_documents_bytes, 2_000_003);
}

#[test]
fn the_memory_for_bodies_holds_several_of_the_largest() {
    let config = parse("[webhook]\nevent_body_bytes = 67_108_864\n").unwrap();
    assert_eq!(config.webhook.limits.bodies_bytes, 4 * 67_108_864);
}
