//! What goes wrong in the middle: silence, cuts, 421, wrong codes, at each step.

use super::*;
use crate::figures::count;

/// Short enough to wait for, and never reached by a relay that answers.
const SHORT: Duration = Duration::from_millis(50);

/// A relay that does everything right up to its answer at `stage`, which it has yet to give.
fn up_to(stage: Stage) -> Script {
    let (greeted, mail) = (Script::greeted(&[]), "MAIL FROM");
    match stage {
        Stage::Connect | Stage::Tls | Stage::Auth | Stage::Body => {
            unreachable!("not part of a plain exchange")
        }
        Stage::Greeting => Script::new(),
        Stage::Ehlo => Script::new().say("220 hi").hear("EHLO"),
        Stage::Mail => greeted.hear(mail),
        Stage::Rcpt => greeted.hear(mail).say("250 ok").hear("RCPT"),
        Stage::Data => greeted.hear(mail).say("250 ok").hear("RCPT").say("250 ok").hear("DATA"),
        Stage::FinalDot => greeted.envelope().message(),
    }
}

const ANSWERED: [Stage; 6] =
    [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::FinalDot];

/// What the script leads to as a message is sent: the failure, and whether the connection is usable after it.
async fn fail(script: Script) -> (Failure, bool) {
    fail_within(script, MESSAGE, |_| {}).await
}

/// The same of this message, within these limits.
async fn fail_within(
    script: Script,
    message: &[u8],
    limits: impl FnOnce(&mut SmtpTimeouts),
) -> (Failure, bool) {
    let relay = ScriptedRelay::start([script]).await;
    let mut settings = settings(&relay);
    limits(&mut settings.timeouts);
    let outcome = match open(settings).await {
        Err(failure) => (failure, false),
        Ok(mut connection) => {
            let failure = send(&mut connection, message).await.unwrap_err();
            (failure, connection.is_usable())
        }
    };
    relay.heard().await;
    let judged = match outcome.0.verdict() {
        Verdict::Accepted => "accepted",
        Verdict::Deferred => "deferred",
        Verdict::AddressRejected | Verdict::MessageRefused => "refused",
        Verdict::Uncertain => "uncertain",
        Verdict::RelayFailed => "the relay's",
    };
    count("SMTP faults", &[("faults", 1), (judged, 1)]);
    outcome
}

fn shorten(limits: &mut SmtpTimeouts, stage: Stage) {
    match stage {
        Stage::Connect => limits.connect = SHORT,
        Stage::Tls => limits.tls = SHORT,
        Stage::Greeting => limits.greeting = SHORT,
        Stage::Ehlo => limits.ehlo = SHORT,
        Stage::Auth => limits.auth = SHORT,
        Stage::Mail => limits.mail = SHORT,
        Stage::Rcpt => limits.rcpt = SHORT,
        Stage::Data => limits.data = SHORT,
        Stage::Body => limits.body = SHORT,
        Stage::FinalDot => limits.final_dot = SHORT,
    }
}

/// What is known when nothing more is heard at a stage.
fn without_an_answer(stage: Stage) -> Verdict {
    match stage {
        Stage::Rcpt | Stage::Data | Stage::Body => Verdict::Deferred,
        Stage::FinalDot => Verdict::Uncertain,
        Stage::Connect | Stage::Tls | Stage::Greeting | Stage::Ehlo | Stage::Auth | Stage::Mail => {
            Verdict::RelayFailed
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_time_out_of_its_own_stage_and_the_connection_with_it() {
    for stage in ANSWERED {
        let (failure, usable) =
            fail_within(up_to(stage), MESSAGE, |limits| shorten(limits, stage)).await;
        assert_eq!(failure, Failure::silence(stage, "no answer within 50ms"));
        assert_eq!(failure.verdict(), without_an_answer(stage));
        assert!(!usable, "{stage:?}");
    }
}

#[tokio::test]
async fn half_a_reply_is_silence() {
    for stage in ANSWERED {
        for half in ["2", "250", "250 2.0.0 queued", "250-first\r\n"] {
            let script = up_to(stage).say_raw(half.as_bytes());
            let (failure, usable) =
                fail_within(script, MESSAGE, |limits| shorten(limits, stage)).await;
            assert_eq!((failure.stage, &failure.reply), (stage, &None), "{half:?}");
            assert_eq!(failure.verdict(), without_an_answer(stage));
            assert!(!usable);

            let script = up_to(stage).say_raw(half.as_bytes()).cut();
            let (failure, usable) = fail(script).await;
            assert_eq!((failure.stage, &failure.reply), (stage, &None), "{half:?}");
            assert_eq!(failure.verdict(), without_an_answer(stage));
            assert!(!usable);
        }
    }
}

#[tokio::test]
async fn a_cut_is_judged_by_the_stage_that_waited_for_an_answer() {
    for stage in ANSWERED {
        let (failure, usable) = fail(up_to(stage).cut()).await;
        assert_eq!(failure.stage, stage, "{failure}");
        assert_eq!(failure.reply, None);
        assert_eq!(failure.verdict(), without_an_answer(stage));
        assert!(!usable);
    }
}

#[tokio::test]
async fn after_421_the_connection_is_not_used_again() {
    for stage in ANSWERED {
        let script = up_to(stage).say("421 4.3.2 closing");
        let (failure, usable) = fail(script).await;
        assert_eq!(failure.stage, stage);
        assert_eq!(failure.reply.as_ref().unwrap().code, 421);
        let verdict = if matches!(stage, Stage::Rcpt | Stage::Data | Stage::FinalDot) {
            Verdict::Deferred
        } else {
            Verdict::RelayFailed
        };
        assert_eq!(failure.verdict(), verdict, "{stage:?}");
        assert!(!usable, "{stage:?}");
    }
}

#[tokio::test]
async fn only_the_exact_code_goes_on() {
    for (stage, codes) in [
        (Stage::Mail, [251, 354, 220]),
        (Stage::Rcpt, [252, 354, 200]),
        (Stage::Data, [250, 334, 220]),
        (Stage::FinalDot, [354, 251, 220]),
    ] {
        for code in codes {
            let script = up_to(stage).say(&format!("{code} fine"));
            let (failure, usable) = fail(script).await;
            assert_eq!(failure.stage, stage);
            assert_eq!(failure.reply.as_ref().unwrap().code, code);
            assert_eq!(failure.verdict(), without_an_answer(stage));
            assert!(!usable, "{code} at {stage:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_before_the_message_leaves_both_sides_in_step() {
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data] {
        for (code, after_mail) in [(451, Verdict::Deferred), (571, Verdict::MessageRefused)] {
            let script = up_to(stage).say(&format!("{code} no"));
            let (failure, usable) = fail(script).await;
            assert_eq!(failure.stage, stage);
            assert_eq!(failure.reply.as_ref().unwrap().code, code);
            let verdict = if stage == Stage::Mail { Verdict::RelayFailed } else { after_mail };
            assert_eq!(failure.verdict(), verdict);
            assert!(usable, "{code} at {stage:?}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_reply_are_no_answer() {
    let endless_line = "2".repeat(10_000);
    let endless_reply = "250-x\r\n".repeat(500);
    for noise in ["hello\r\n", "250-a\r\n550 b\r\n", &endless_line, &endless_reply] {
        for stage in ANSWERED {
            let script = up_to(stage).say_raw(noise.as_bytes());
            let (failure, usable) = fail(script).await;
            assert_eq!((failure.stage, &failure.reply), (stage, &None));
            assert!(failure.cause.starts_with("the relay sent a"), "{failure}");
            assert_eq!(failure.verdict(), without_an_answer(stage));
            assert!(!usable);
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_or_not_taken_was_not_delivered() {
    let message = b"0123456789\r\n".repeat(1_000_000);
    for script in [
        Script::greeted(&[]).envelope().octets(10).cut(),
        Script::greeted(&[]).envelope().octets(1_000_000).cut(),
        Script::greeted(&[]).envelope().cut(),
    ] {
        let (failure, usable) = fail_within(script, &message, |_| {}).await;
        assert_eq!(failure.stage, Stage::Body);
        assert_eq!(failure.verdict(), Verdict::Deferred);
        assert!(!usable);
    }
}

#[tokio::test]
async fn a_cut_about_the_final_dot_is_deferred_before_it_and_uncertain_after_it() {
    // Whether the cut is seen before the dot goes out is up to the network; the verdict must fit.
    let script = Script::greeted(&[]).envelope().octets(MESSAGE.len()).cut();
    let (failure, usable) = fail(script).await;
    assert!(matches!(failure.stage, Stage::Body | Stage::FinalDot));
    assert_eq!(failure.verdict(), without_an_answer(failure.stage));
    assert!(!usable);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_final_dot_is_not_the_answer_to_it() {
    for (early, verdict) in [
        ("250 2.0.0 queued", Verdict::Deferred),
        ("452 4.3.1 full", Verdict::Deferred),
        ("552 5.3.4 too large", Verdict::MessageRefused),
        ("421 4.3.2 closing", Verdict::Deferred),
        ("what?", Verdict::Deferred),
    ] {
        let script = up_to(Stage::Data).say(&format!("354 go\r\n{early}"));
        let (failure, usable) = fail(script).await;
        assert_eq!(failure.stage, Stage::Body, "{early}");
        assert_eq!(failure.verdict(), verdict, "{early}");
        assert!(!usable);

        // Also if there is no block of the body before which to look.
        let script = up_to(Stage::Data).say(&format!("354 go\r\n{early}"));
        let (failure, _) = fail_within(script, b"", |_| {}).await;
        assert_eq!(failure.stage, Stage::Body, "{early}");
    }
}

#[tokio::test]
async fn an_answer_too_many_is_not_taken_for_the_next_one() {
    let script =
        Script::greeted(&[]).envelope().message().say("250 2.0.0 queued\r\n250 2.1.0 and one more");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    send(&mut connection, MESSAGE).await.unwrap();
    let failure = connection.begin(10).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Mail);
    assert!(!connection.is_usable());
    let heard = relay.heard().await.concat();
    assert_eq!(heard.iter().filter(|line| line.starts_with("MAIL")).count(), 1);
}

#[tokio::test]
async fn with_pipelining_each_answer_is_judged_at_its_own_stage() {
    for (answers, stage, verdict, usable) in [
        ("550 5.7.1 no\r\n503 x\r\n503 x", Stage::Mail, Verdict::RelayFailed, true),
        ("421 4.3.2 closing", Stage::Mail, Verdict::RelayFailed, false),
        ("250 ok\r\n421 4.3.2 closing", Stage::Rcpt, Verdict::Deferred, false),
        ("250 ok\r\n450 4.2.0 later\r\n503 x", Stage::Rcpt, Verdict::Deferred, true),
        (
            "250 ok\r\n550 5.1.1 who?\r\n421 4.3.2 closing",
            Stage::Rcpt,
            Verdict::AddressRejected,
            false,
        ),
        ("250 ok\r\n354 go\r\n354 go", Stage::Rcpt, Verdict::Deferred, false),
        ("250 ok\r\n250 ok\r\n451 4.3.0 later", Stage::Data, Verdict::Deferred, true),
        ("250 ok\r\n250 ok\r\n250 ok", Stage::Data, Verdict::Deferred, false),
        ("250 ok\r\n250 ok\r\n354 go\r\n250 ok", Stage::Body, Verdict::Deferred, false),
    ] {
        let script = Script::greeted(&["PIPELINING"]).envelope_at_once().say(answers);
        let (failure, still_usable) = fail(script).await;
        assert_eq!(failure.stage, stage, "{answers}");
        assert_eq!(failure.verdict(), verdict, "{answers}");
        assert_eq!(still_usable, usable, "{answers}");
    }
}

#[tokio::test]
async fn a_refusal_told_by_pipelining_is_kept_though_the_rest_never_comes() {
    let script =
        Script::greeted(&["PIPELINING"]).envelope_at_once().say("250 ok\r\n550 5.1.1 who?");
    let (failure, usable) = fail_within(script, MESSAGE, |limits| limits.data = SHORT).await;
    assert_eq!(failure.verdict(), Verdict::AddressRejected);
    assert!(!usable, "one answer is still to come");
}

#[tokio::test]
async fn a_354_though_the_recipient_was_refused_delivers_nothing() {
    let script = Script::greeted(&["PIPELINING"])
        .envelope_at_once()
        .say("250 ok\r\n550 5.1.1 who?\r\n354 go");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    let failure = connection.begin(MESSAGE.len()).await.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::AddressRejected);
    assert!(!connection.is_usable());
    let heard = relay.heard().await;
    assert_eq!(heard[0].last().unwrap(), "DATA", "nothing follows");
}

#[tokio::test]
async fn a_dropped_future_closes_the_connection() {
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::FinalDot] {
        let relay = ScriptedRelay::start([up_to(stage)]).await;
        let mut connection = connected(&relay).await;
        let cancelled = tokio::time::timeout(6 * SHORT, send(&mut connection, MESSAGE)).await;
        assert!(cancelled.is_err());
        assert!(!connection.is_usable());
        // Ends only because the socket is closed.
        relay.heard().await;
    }
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_next_messages() {
    // The relay refuses the first message after its time-out; a second one on the same connection
    // would read that refusal, or its own acceptance one answer late.
    let first = up_to(Stage::FinalDot);
    let second = Script::greeted(&[]).accept();
    let relay = ScriptedRelay::start([first, second]).await;
    let mut settings = settings(&relay);
    settings.timeouts.final_dot = SHORT;
    let mut connection = open(settings.clone()).await.unwrap();
    let failure = send(&mut connection, MESSAGE).await.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::Uncertain);
    assert!(!connection.is_usable());
    settings.timeouts.final_dot = LONG;
    let mut connection = open(settings).await.unwrap();
    send(&mut connection, MESSAGE).await.unwrap();
    drop(connection);
    relay.heard().await;
}

#[tokio::test]
async fn a_body_that_the_relay_does_not_read_times_out_before_the_final_dot() {
    let message = b"0123456789\r\n".repeat(1_000_000);
    let relay = ScriptedRelay::start([Script::greeted(&[]).envelope().stall()]).await;
    let mut settings = settings(&relay);
    settings.timeouts.body = SHORT;
    let mut connection = open(settings).await.unwrap();
    let failure = send(&mut connection, &message).await.unwrap_err();
    assert_eq!(failure, Failure::silence(Stage::Body, "no answer within 50ms"));
    assert_eq!(failure.verdict(), Verdict::Deferred);
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_relay_that_says_why_it_reads_no_further_is_heard() {
    let message = b"0123456789\r\n".repeat(1_000_000);
    let script = Script::greeted(&[]).envelope().octets(10).say("552 5.3.4 too large").stall();
    let relay = ScriptedRelay::start([script]).await;
    let mut settings = settings(&relay);
    settings.timeouts.body = SHORT;
    let mut connection = open(settings).await.unwrap();
    let failure = send(&mut connection, &message).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Body);
    assert_eq!(failure.reply.as_ref().unwrap().code, 552);
    assert_eq!(failure.verdict(), Verdict::MessageRefused);
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_begun_message_that_is_dropped_closes_the_connection_and_says_nothing_into_it() {
    let relay = ScriptedRelay::start([Script::greeted(&[]).envelope()]).await;
    let mut connection = connected(&relay).await;
    connection.begin(10).await.unwrap();
    connection.begun = None;
    assert!(!connection.is_usable());
    // Ends only because the socket is closed.
    let heard = relay.heard().await;
    assert_eq!(heard[0].last().unwrap(), "DATA");
}

#[tokio::test]
async fn leaving_is_bounded() {
    let relay = ScriptedRelay::start([Script::greeted(&[])]).await;
    // This relay never answers QUIT.
    connected(&relay).await.quit().await;
    let heard = relay.heard().await;
    assert_eq!(heard[0].last().unwrap(), "QUIT");
}
