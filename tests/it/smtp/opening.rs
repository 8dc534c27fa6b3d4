//! Up to the point where a message can begin: TCP, TLS, STARTTLS, AUTH.

use std::net::Ipv4Addr;

use invoice_router::mail::transport::{Credentials, SettingsFault};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::scripted_smtp::Authority;

fn with_credentials(settings: SmtpSettings) -> SmtpSettings {
    let password = SecretString::from("geheim");
    let credentials = Some(Credentials { username: "router".to_owned(), password });
    SmtpSettings { credentials, ..settings }
}

fn encrypted(settings: SmtpSettings, security: Security, authority: &Authority) -> SmtpSettings {
    SmtpSettings { security, ca: Some(authority.pem.clone()), ..settings }
}

fn before_start_tls(offers: &[&str]) -> Script {
    Script::greeted(offers).hear("STARTTLS").say("220 2.0.0 go")
}

/// How opening a connection to a relay with this script fails, and what the relay heard.
async fn refused(
    script: Script,
    change: impl FnOnce(SmtpSettings) -> SmtpSettings,
) -> (Failure, Vec<String>) {
    let relay = ScriptedRelay::start([script]).await;
    let failure = open(change(settings(&relay))).await.unwrap_err();
    (failure, relay.heard().await.concat())
}

/// Sends a message over a new connection to a relay with this script.
async fn accepted(script: Script, change: impl FnOnce(SmtpSettings) -> SmtpSettings) {
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = open(change(settings(&relay))).await.unwrap();
    send(&mut connection, MESSAGE).await.unwrap();
    drop(connection);
    relay.heard().await;
}

#[tokio::test]
async fn a_relay_that_is_not_there_has_failed_and_not_the_message() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let relay = ScriptedRelay::start([]).await;
    let mut settings = settings(&relay);
    settings.port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = open(settings).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Connect);
    assert_eq!(failure.verdict(), Verdict::RelayFailed);
    assert_eq!(failure.cause, "connection refused");
}

#[tokio::test]
async fn a_greeting_or_ehlo_answer_other_than_the_right_one_is_a_failure() {
    for (script, stage, code) in [
        (Script::new().say("554 5.7.1 go away"), Stage::Greeting, 554),
        (Script::new().say("250 hello"), Stage::Greeting, 250),
        (Script::new().say("421 busy"), Stage::Greeting, 421),
        (Script::new().say("220 hi").hear("EHLO").say("502 what?"), Stage::Ehlo, 502),
        (Script::new().say("220 hi").hear("EHLO").say("421 busy"), Stage::Ehlo, 421),
        (Script::new().say("220 hi").hear("EHLO").say("220 hi"), Stage::Ehlo, 220),
    ] {
        let (failure, _) = refused(script, |settings| settings).await;
        assert_eq!(failure.stage, stage);
        assert_eq!(failure.reply.as_ref().unwrap().code, code);
        assert_eq!(failure.verdict(), Verdict::RelayFailed);
    }
}

#[tokio::test]
async fn credentials_are_sent_by_the_mechanism_that_the_relay_offers() {
    let plain = Script::greeted(&["AUTH PLAIN LOGIN"])
        .hear("AUTH PLAIN AHJvdXRlcgBnZWhlaW0=")
        .say("235 2.7.0 welcome");
    let login = Script::greeted(&["auth login cram-md5"])
        .hear("AUTH LOGIN")
        .say("334 VXNlcm5hbWU6")
        .hear("cm91dGVy")
        .say("334 UGFzc3dvcmQ6")
        .hear("Z2VoZWlt")
        .say("235 2.7.0 welcome");
    for script in [plain, login] {
        accepted(script.accept(), with_credentials).await;
    }
}

#[tokio::test]
async fn refused_credentials_are_the_relays_failure() {
    let offers = &["AUTH PLAIN"];
    for (answer, code) in [
        ("535 5.7.8 wrong", 535),
        ("421 4.3.2 closing", 421),
        ("454 4.7.0 later", 454),
        // Good news, but not about credentials.
        ("250 2.0.0 ok", 250),
    ] {
        let script = Script::greeted(offers).hear("AUTH PLAIN").say(answer);
        let (failure, _) = refused(script, with_credentials).await;
        assert_eq!(failure.stage, Stage::Auth);
        assert_eq!(failure.reply.as_ref().unwrap().code, code);
        assert_eq!(failure.verdict(), Verdict::RelayFailed);
        assert!(!format!("{failure:?}").contains("geheim"));
    }
}

#[tokio::test]
async fn a_relay_without_a_mechanism_that_is_known_gets_no_credentials() {
    for script in [Script::greeted(&["AUTH CRAM-MD5"]), Script::greeted(&[])] {
        let (failure, heard) = refused(script, with_credentials).await;
        assert_eq!(failure.stage, Stage::Auth);
        assert_eq!(heard, ["EHLO client.example"]);
    }
}

#[tokio::test]
async fn a_challenge_that_makes_no_sense_is_not_answered() {
    for (challenge, offer) in
        [("334 ?", "AUTH LOGIN"), ("334 UElOPw==", "AUTH LOGIN"), ("334 ", "AUTH PLAIN")]
    {
        let script = Script::greeted(&[offer]).hear("AUTH").say(challenge);
        let (failure, heard) = refused(script, with_credentials).await;
        assert_eq!((failure.stage, failure.reply), (Stage::Auth, None));
        assert!(!heard.contains(&"Z2VoZWlt".to_owned()), "{heard:?}");
    }
}

#[tokio::test]
async fn tls_from_the_first_octet_with_a_ca_of_ones_own() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    let script = Script::new()
        .tls(&authority.acceptor)
        .say("220 relay.example ESMTP")
        .ehlo(&["PIPELINING"])
        .envelope_at_once()
        .say("250 ok\r\n250 ok\r\n354 go")
        .message()
        .say("250 2.0.0 queued")
        .hear("QUIT")
        .say("221 bye");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection =
        open(encrypted(settings(&relay), Security::Tls, &authority)).await.unwrap();
    assert!(connection.is_alive().await);
    send(&mut connection, &b"0123456789\r\n".repeat(20_000)).await.unwrap();
    connection.quit().await;
    relay.heard().await;
}

#[tokio::test]
async fn a_host_name_is_resolved_and_each_of_its_addresses_tried() {
    let authority = Authority::with_leaf_for("localhost");
    let script = Script::new().tls(&authority.acceptor).say("220 relay.example ESMTP").ehlo(&[]);
    let relay = ScriptedRelay::start([script]).await;
    let settings = SmtpSettings {
        host: "localhost".to_owned(),
        ..encrypted(settings(&relay), Security::Tls, &authority)
    };
    drop(open(settings).await.unwrap());
    relay.heard().await;
}

#[tokio::test]
async fn start_tls_encrypts_what_follows_and_credentials_go_after_it() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    let script = before_start_tls(&["STARTTLS"])
        .tls(&authority.acceptor)
        .ehlo(&["AUTH PLAIN"])
        .hear("AUTH PLAIN")
        .say("235 welcome")
        .accept();
    let encrypt = |settings| encrypted(settings, Security::StartTls, &authority);
    accepted(script, |settings| with_credentials(encrypt(settings))).await;
}

#[tokio::test]
async fn without_start_tls_nothing_more_is_sent() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    for script in [Script::greeted(&[]), Script::greeted(&["XSTARTTLS", "SIZE"])] {
        let encrypt = |settings| encrypted(settings, Security::StartTls, &authority);
        let (failure, heard) = refused(script, encrypt).await;
        assert_eq!(failure, Failure::silence(Stage::Tls, "the relay does not offer STARTTLS"));
        assert_eq!(failure.verdict(), Verdict::RelayFailed);
        assert_eq!(heard, ["EHLO client.example"]);
    }
}

#[tokio::test]
async fn after_refused_start_tls_nothing_more_is_sent() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    for (answer, code) in [("454 4.7.0 not now", 454), ("250 ok", 250), ("421 closing", 421)] {
        let script = Script::greeted(&["STARTTLS"]).hear("STARTTLS").say(answer);
        let encrypt = |settings| encrypted(settings, Security::StartTls, &authority);
        let (failure, heard) = refused(script, encrypt).await;
        assert_eq!(failure.stage, Stage::Tls);
        assert_eq!(failure.verdict(), Verdict::RelayFailed);
        assert_eq!(failure.reply.unwrap().code, code);
        assert_eq!(heard, ["EHLO client.example", "STARTTLS"]);
    }
}

#[tokio::test]
async fn plaintext_that_came_with_the_answer_to_start_tls_is_refused() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    // The whole exchange that follows would succeed if the injected answer to EHLO were believed.
    let script = Script::greeted(&["STARTTLS"])
        .hear("STARTTLS")
        .say_raw(b"220 go\r\n250-relay.example\r\n250 AUTH PLAIN\r\n")
        .tls(&authority.acceptor)
        .ehlo(&[]);
    let encrypt = |settings| encrypted(settings, Security::StartTls, &authority);
    let (failure, heard) = refused(script, encrypt).await;
    assert_eq!(failure.stage, Stage::Tls);
    assert_eq!(heard, ["EHLO client.example", "STARTTLS"]);
}

#[tokio::test]
async fn a_certificate_of_another_ca_or_for_another_host_is_refused() {
    let right = Authority::with_leaf_for("127.0.0.1");
    let other_ca = Authority::with_leaf_for("127.0.0.1");
    let other_host = Authority::with_leaf_for("relay.example");
    for (trusted, presented) in [(&right, &other_ca), (&other_host, &other_host)] {
        for security in [Security::Tls, Security::StartTls] {
            let script = match security {
                Security::StartTls => before_start_tls(&["STARTTLS"]),
                Security::Tls | Security::None => Script::new(),
            };
            let script = script.tls(&presented.acceptor);
            let encrypt = |settings| encrypted(settings, security, trusted);
            let (failure, _) = refused(script, encrypt).await;
            assert_eq!(failure.stage, Stage::Tls);
            assert_eq!(failure.verdict(), Verdict::RelayFailed);
            assert!(failure.cause.contains("certificate"), "{failure}");
        }
    }
}

#[tokio::test]
async fn a_ca_of_ones_own_takes_the_place_of_the_systems_and_none_means_the_systems() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    let trusting = |settings| SmtpSettings { security: Security::Tls, ..settings };
    let (failure, _) = refused(Script::new().tls(&authority.acceptor), trusting).await;
    assert_eq!(failure.stage, Stage::Tls);
}

/// A limit for the steps that never end here.
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn silence_or_a_cut_in_tls_or_auth_ends_at_that_stage() {
    let authority = Authority::with_leaf_for("127.0.0.1");
    for (security, script, stage) in [
        (Security::Tls, Script::new(), Stage::Tls),
        (Security::StartTls, Script::greeted(&["STARTTLS"]).hear("STARTTLS"), Stage::Tls),
        (Security::StartTls, before_start_tls(&["STARTTLS"]), Stage::Tls),
        (Security::None, Script::greeted(&["AUTH PLAIN"]).hear("AUTH"), Stage::Auth),
        (
            Security::None,
            Script::greeted(&["AUTH LOGIN"]).hear("AUTH").say("334 VXNlcm5hbWU6").hear("cm91dGVy"),
            Stage::Auth,
        ),
    ] {
        for (script, limit) in [(script.clone(), SHORT), (script.cut(), LONG)] {
            let limited = |settings| {
                let mut settings = with_credentials(encrypted(settings, security, &authority));
                settings.timeouts.tls = limit;
                settings.timeouts.auth = limit;
                settings
            };
            let (failure, _) = refused(script, limited).await;
            assert_eq!((failure.stage, &failure.reply), (stage, &None));
            assert_eq!(failure.verdict(), Verdict::RelayFailed);
            assert_eq!(failure.cause.starts_with("no answer within"), limit == SHORT, "{failure}");
        }
    }
}

#[tokio::test]
async fn a_relay_that_does_not_answer_at_all_ends_at_the_connect_time_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts, so that further ones are left without an answer once the queue is full.
    let mut queued = Vec::new();
    while let Ok(connection) = timeout(6 * SHORT, TcpStream::connect(address)).await {
        queued.push(connection.unwrap());
    }
    let relay = ScriptedRelay::start([]).await;
    let mut settings = settings(&relay);
    settings.port = address.port();
    settings.timeouts.connect = SHORT;
    let failure = open(settings).await.unwrap_err();
    assert_eq!(failure, Failure::silence(Stage::Connect, "no answer within 50ms"));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_anything_is_connected() {
    let relay = ScriptedRelay::start([]).await;
    let fault = |change: fn(&mut SmtpSettings)| {
        let mut settings = settings(&relay);
        settings.security = Security::Tls;
        change(&mut settings);
        SmtpTransport::new(settings).map(drop).unwrap_err()
    };
    assert!(matches!(
        fault(|settings| settings.host = "not a host".to_owned()),
        SettingsFault::Host(_)
    ));
    assert!(matches!(
        fault(|settings| settings.helo_name = "a\r\nMAIL FROM:<x@y.example>".to_owned()),
        SettingsFault::HeloName(_)
    ));
    assert!(matches!(
        fault(|settings| settings.ca = Some(b"no PEM".to_vec())),
        SettingsFault::NoCertificate
    ));
    assert!(matches!(
        fault(|settings| settings.ca =
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec())),
        SettingsFault::Certificate(_)
    ));
}

#[tokio::test]
async fn neither_settings_nor_connections_show_the_password() {
    let relay = ScriptedRelay::start([Script::greeted(&["AUTH PLAIN"])
        .hear("AUTH PLAIN")
        .say("235 welcome")])
    .await;
    let settings = with_credentials(settings(&relay));
    let shown = format!("{settings:?}");
    let connection = open(settings).await.unwrap();
    let shown = format!("{shown} {connection:?}");
    assert!(!shown.contains("geheim") && !shown.contains("Z2VoZWlt"), "{shown}");
    drop(connection);
    relay.heard().await;
}
