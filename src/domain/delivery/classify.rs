//! What a relay's reply, or its silence, means for the invoice.

use super::{EnhancedCode, Reply, Stage};

/// What came back at a stage that did not go well, or at the final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A well-formed reply.
    Reply(&'a Reply),
    /// A time-out, a closed connection, or bytes that are no reply.
    Nothing,
}

/// What an attempt means for the invoice and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// 250 to the final dot.
    Accepted,
    /// To be tried again later.
    Deferred,
    /// The address does not exist.
    AddressRejected,
    /// Refused for good, and no address is to blame.
    MessageRefused,
    /// The relay may have it.
    Uncertain,
    /// The relay's own fault; the invoice was not tried.
    RelayFailed,
}

/// Classifies the reply at `stage`, in place of what the stage needed to go on.
///
/// Up to MAIL everything is the relay's, but for the refusal of a message as too large (RFC 1870, section 6.1).
/// After that a lost connection or a 421 is a failed attempt: whether the relay or this message is the
/// cause is unknown, and what did not count would be tried first again, for ever. From the final dot
/// on only exact replies are certain: 250 is acceptance, 4xx and 5xx are refusals, anything else is unknown.
#[must_use]
pub fn classify(stage: Stage, heard: Heard<'_>) -> Verdict {
    let before_the_end = match stage {
        Stage::Mail if is_too_large(heard) => return Verdict::MessageRefused,
        Stage::Connect | Stage::Tls | Stage::Greeting | Stage::Ehlo | Stage::Auth | Stage::Mail => {
            return Verdict::RelayFailed;
        }
        Stage::Rcpt | Stage::Data | Stage::Body => true,
        Stage::FinalDot => false,
    };
    let reply = match heard {
        Heard::Reply(reply) => reply,
        Heard::Nothing if before_the_end => return Verdict::Deferred,
        Heard::Nothing => return Verdict::Uncertain,
    };
    match reply.code {
        250 if !before_the_end => Verdict::Accepted,
        400..=499 => Verdict::Deferred,
        500..=599 if blames_the_address(stage, reply) => Verdict::AddressRejected,
        500..=599 => Verdict::MessageRefused,
        _ if before_the_end => Verdict::Deferred,
        _ => Verdict::Uncertain,
    }
}

/// 552 or the code of RFC 3463, section 3.4, to a MAIL that announced the size.
fn is_too_large(heard: Heard<'_>) -> bool {
    match heard {
        Heard::Reply(reply) => match reply.enhanced {
            Some(EnhancedCode(class, subject, detail)) => (class, subject, detail) == (5, 3, 4),
            None => reply.code == 552,
        },
        Heard::Nothing => false,
    }
}

/// The codes of RFC 3463, section 3.2, and RFC 7505 that say the mailbox is not there (a system's trouble, policy
/// or content has others); without one, the bare codes of RFC 5321 at RCPT.
fn blames_the_address(stage: Stage, reply: &Reply) -> bool {
    match reply.enhanced {
        Some(EnhancedCode(class, subject, detail)) => {
            class == 5 && matches!((subject, detail), (1, 1 | 2 | 3 | 6 | 10) | (2, 1))
        }
        None => stage == Stage::Rcpt && matches!(reply.code, 550 | 551 | 553),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: Option<EnhancedCode>) -> Reply {
        Reply { code, enhanced, text: String::new() }
    }

    fn judge(stage: Stage, code: u16, enhanced: Option<EnhancedCode>) -> Verdict {
        classify(stage, Heard::Reply(&reply(code, enhanced)))
    }

    #[test]
    fn only_250_to_the_final_dot_is_acceptance() {
        for stage in Stage::ALL {
            for code in 200..=599 {
                let accepted = judge(stage, code, None) == Verdict::Accepted;
                assert_eq!(
                    accepted,
                    stage == Stage::FinalDot && code == 250,
                    "{code} at {}",
                    stage.as_str()
                );
            }
        }
    }

    #[test]
    fn silence_is_uncertain_only_after_the_final_dot() {
        for stage in Stage::ALL {
            let uncertain = classify(stage, Heard::Nothing) == Verdict::Uncertain;
            assert_eq!(uncertain, stage == Stage::FinalDot, "{}", stage.as_str());
        }
    }

    #[test]
    fn an_address_is_blamed_only_by_a_code_that_does_so() {
        assert_eq!(judge(Stage::Rcpt, 550, None), Verdict::AddressRejected);
        assert_eq!(judge(Stage::Rcpt, 550, Some(EnhancedCode(5, 1, 1))), Verdict::AddressRejected);
        assert_eq!(
            judge(Stage::FinalDot, 550, Some(EnhancedCode(5, 1, 10))),
            Verdict::AddressRejected
        );
        assert_eq!(judge(Stage::Rcpt, 550, Some(EnhancedCode(5, 7, 1))), Verdict::MessageRefused);
        assert_eq!(judge(Stage::Rcpt, 554, None), Verdict::MessageRefused);
        assert_eq!(judge(Stage::FinalDot, 550, None), Verdict::MessageRefused);
    }

    #[test]
    fn what_fails_before_the_recipient_is_named_is_the_relays() {
        assert_eq!(judge(Stage::Mail, 550, None), Verdict::RelayFailed);
        assert_eq!(judge(Stage::Mail, 421, None), Verdict::RelayFailed);
        for stage in [Stage::Rcpt, Stage::Data, Stage::Body, Stage::FinalDot] {
            assert_eq!(judge(stage, 421, None), Verdict::Deferred);
        }
    }

    #[test]
    fn a_message_too_large_for_the_relay_is_no_fault_of_the_relay() {
        let too_large = Some(EnhancedCode(5, 3, 4));
        assert_eq!(judge(Stage::Mail, 552, None), Verdict::MessageRefused);
        assert_eq!(judge(Stage::Mail, 552, too_large), Verdict::MessageRefused);
        let quota = Some(EnhancedCode(5, 2, 2));
        assert_eq!(judge(Stage::Mail, 552, quota), Verdict::RelayFailed);
    }
}
