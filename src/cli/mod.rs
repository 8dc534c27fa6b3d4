//! The commands, and what they share; those that belong together share a file.
//!
//! A command is `fn(&Context, arguments) -> Result<(), Failure>`; a failure carries the exit code that
//! scripts rely on. Live state is asked of the running daemon through its admin socket, never read from
//! its directory.

mod accounts;
mod check_config;
mod client;
pub mod demo;
mod explain;
mod invoices;
mod out;
mod release;
mod sending;
mod serve;
mod sign;
mod test_mail;
mod transfer;
mod verify;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ReasonRequest, ResendRequest};
use crate::config::{Config, ConfigErrors};
use crate::domain::delivery::Shown;
use crate::domain::id::{AccountId, InvoiceNumber, ScheduleName, SenderName, WebhookId};
use crate::http::client::Target;

use self::client::Client;
use self::out::Out;

/// Mails each account's invoices to its single active billing contact.
#[derive(Debug, Parser)]
#[command(name = "invoice-router", version, about, max_term_width = 100)]
struct Arguments {
    /// The configuration file; without it, the built-in defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve {
        /// Accept events, but send nothing until `resume`.
        #[arg(long)]
        paused: bool,
    },
    /// Show how invoices are routed, on this machine, with a real daemon and a real mail server.
    Demo,
    /// Check the configuration with its secrets, schedules and templates.
    CheckConfig,
    /// Sign a file as a sender would: prints the three headers, for curl.
    Sign(SignArguments),
    /// Show an account: contacts, who is selectable, who is active.
    Account {
        /// The account's id, as the portal names it.
        #[arg(value_parser = account_id)]
        id: AccountId,
    },
    /// Explain who gets an account's invoices, or got this one, and why.
    Explain {
        /// The account's id, as the portal names it.
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// The invoice's number; without it, the account's next invoice.
        #[arg(value_parser = invoice_number)]
        number: Option<InvoiceNumber>,
    },
    /// List invoices.
    Invoices(InvoicesArguments),
    /// Show the history of one invoice.
    Invoice(InvoiceArguments),
    /// Hold an invoice: it is not sent until it is released.
    Hold {
        #[command(flatten)]
        invoice: InvoiceArguments,
        /// The reason, for the audit log.
        #[arg(long, default_value = "held by an operator")]
        reason: String,
    },
    /// Release a held, withheld or undeliverable invoice, or all in such a state.
    Release(ReleaseArguments),
    /// Send a delivered invoice again, as a new revision, to the current recipient.
    Resend {
        #[command(flatten)]
        invoice: InvoiceArguments,
        /// The revision to replace.
        #[arg(long, default_value_t = 1)]
        revision: u32,
        /// The reason, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Withdraw an invoice before it is sent.
    Withdraw {
        #[command(flatten)]
        invoice: InvoiceArguments,
        /// The reason, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Send the waiting invoices now.
    Dispatch(DispatchArguments),
    /// Stop sending, or removal by retention; events are still accepted.
    Pause {
        #[command(flatten)]
        scope: PauseArguments,
        /// The reason, for the audit log.
        #[arg(long, default_value = "paused by an operator")]
        reason: String,
    },
    /// End a pause.
    Resume {
        #[command(flatten)]
        scope: PauseArguments,
        /// If the brake on rejections paused sending and the addresses are good: clear the suppressions of the two
        /// hours before it. Release invoices that became undeliverable with `release --state undeliverable`.
        #[arg(long, conflicts_with_all = ["account", "removal"])]
        forget_rejections: bool,
        /// The reason, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Import accounts from a file: the first load, or after the portal was restored from a backup.
    Import {
        /// JSON Lines, each the data of an `account.updated`, optionally with `"closed": true`; "-" is standard input.
        file: PathBuf,
        /// Overwrite the stored accounts, even with older versions. Do not repeat it later: it would undo the portal's
        /// changes since.
        #[arg(long)]
        accept_versions: bool,
        /// The reason, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Print all accounts as JSON Lines, as `import` takes them.
    Export,
    /// Check everything in the state directory, while no daemon runs: records, indexes, the audit log, documents.
    Verify,
    /// Send a test mail through the configured transport.
    TestMail {
        /// The recipient.
        address: String,
    },
}

#[derive(Debug, Args)]
struct SignArguments {
    /// The sender whose secret signs.
    #[arg(long, value_parser = sender_name)]
    sender: SenderName,
    /// The `webhook-id`; a random one if not given.
    #[arg(long, value_parser = webhook_id)]
    id: Option<WebhookId>,
    /// FILE is a document: sign its digest, for `PUT /v1/documents/{sha256}`.
    #[arg(long)]
    document: bool,
    /// The body that will be sent, byte by byte.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct InvoicesArguments {
    /// Only in this state.
    #[arg(long, value_parser = one_of(Shown::ALL))]
    state: Option<Shown>,
    /// Only of this account.
    #[arg(long, value_parser = account_id)]
    account: Option<AccountId>,
    /// Only issued on or after this date (YYYY-MM-DD).
    #[arg(long, value_name = "DATE")]
    since: Option<chrono::NaiveDate>,
}

#[derive(Debug, Args)]
struct InvoiceArguments {
    /// The account's id, as the portal names it.
    #[arg(value_parser = account_id)]
    account: AccountId,
    /// The invoice's number.
    #[arg(value_parser = invoice_number)]
    number: InvoiceNumber,
}

#[derive(Debug, Args)]
struct ReleaseArguments {
    /// The account's id.
    #[arg(value_parser = account_id, requires = "number", required_unless_present = "state")]
    account: Option<AccountId>,
    /// The invoice's number.
    #[arg(value_parser = invoice_number)]
    number: Option<InvoiceNumber>,
    /// All invoices in this state, instead of one.
    #[arg(long, value_parser = one_of(STOPPED), conflicts_with_all = ["account", "number"])]
    state: Option<Shown>,
    /// Only list them.
    #[arg(long, requires = "state")]
    dry_run: bool,
    /// Send immediately instead of by the schedule.
    #[arg(long)]
    now: bool,
    /// The reason, for the audit log.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
struct PauseArguments {
    /// Only this account.
    #[arg(long, value_parser = account_id)]
    account: Option<AccountId>,
    /// Not sending, but removal by retention; the daemon pauses it itself after a clock step of more
    /// than a day.
    #[arg(long, conflicts_with = "account")]
    removal: bool,
}

#[derive(Debug, Args)]
struct DispatchArguments {
    /// Only list who would get which invoice, and why.
    #[arg(long)]
    dry_run: bool,
    /// Only the accounts of this schedule.
    #[arg(long, value_parser = schedule_name, conflicts_with = "account")]
    schedule: Option<ScheduleName>,
    /// Only this account.
    #[arg(long, value_parser = account_id)]
    account: Option<AccountId>,
    /// The reason, for the audit log.
    #[arg(long)]
    reason: Option<String>,
}

/// Why a command failed; decides the exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It failed, or was not found.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// The daemon does not answer.
    #[error("{0:#}")]
    Unreachable(anyhow::Error),
    /// The disk failed a sync.
    #[error("{0:#}; check the disk before you restart")]
    SyncFailed(anyhow::Error),
    /// The configuration is wrong.
    #[error("{0}")]
    Configuration(String),
}

impl Failure {
    /// The exit code; 65, 69, 74 and 78 are those of sysexits.h for data, service, I/O, configuration.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Refused(_) => 65,
            Self::Unreachable(_) => 69,
            Self::SyncFailed(_) => 74,
            Self::Configuration(_) => 78,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Configuration(errors.to_string())
    }
}

/// What every command may need.
struct Context {
    config: Option<PathBuf>,
    out: Out,
}

impl Context {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref())?)
    }

    fn daemon(&self) -> Result<Client, Failure> {
        Ok(Client(Target::Unix(self.load()?.admin.socket)))
    }

    /// Asks the daemon, and prints its answer in the words of `text`.
    async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.out.answer(&self.daemon()?.get(path).await?, text)
    }

    /// Has the daemon do something, and prints its answer in the words of `text`.
    async fn act<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.out.answer(&self.daemon()?.post(path, request).await?, text)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { config, json, command } = Arguments::parse();
    let context = Context { config, out: Out { json } };
    let mut runtime = if matches!(command, Command::Serve { .. }) {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let done = runtime
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("cannot start a runtime").into())
        .and_then(|runtime| runtime.block_on(run(&context, command)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::complain(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { paused } => serve::run(context, paused).await,
        Command::Demo => demo::run(context).await,
        Command::CheckConfig => check_config::run(context),
        Command::Sign(arguments) => sign::run(context, arguments),
        Command::Account { id } => accounts::show(context, &id).await,
        Command::Explain { account, number } => {
            explain::run(context, &account, number.as_ref()).await
        }
        Command::Invoices(arguments) => invoices::list_all(context, &arguments).await,
        Command::Invoice(invoice) => invoices::show(context, &invoice).await,
        Command::Hold { invoice, reason } => {
            let request = ReasonRequest { reason: Some(reason) };
            invoices::operate(context, &invoice, "hold", &request).await
        }
        Command::Release(arguments) => release::run(context, arguments).await,
        Command::Resend { invoice, revision, reason } => {
            let request = ResendRequest { revision, reason };
            invoices::operate(context, &invoice, "resend", &request).await
        }
        Command::Withdraw { invoice, reason } => {
            invoices::operate(context, &invoice, "withdraw", &ReasonRequest { reason }).await
        }
        Command::Dispatch(arguments) => sending::dispatch(context, arguments).await,
        Command::Pause { scope, reason } => sending::pause(context, &scope, reason).await,
        Command::Resume { scope, forget_rejections, reason } => {
            sending::resume(context, &scope, forget_rejections, reason).await
        }
        Command::Import { file, accept_versions, reason } => {
            transfer::import(context, &file, accept_versions, reason.as_deref()).await
        }
        Command::Export => transfer::export(context).await,
        Command::Verify => verify::run(context),
        Command::TestMail { address } => test_mail::run(context, &address).await,
    }
}

macro_rules! value_parser {
    ($name:ident, $type:ty) => {
        fn $name(raw: &str) -> Result<$type, String> {
            <$type>::parse(raw).map_err(|invalid| invalid.to_string())
        }
    };
}

value_parser!(account_id, AccountId);
value_parser!(invoice_number, InvoiceNumber);
value_parser!(schedule_name, ScheduleName);
value_parser!(sender_name, SenderName);
value_parser!(webhook_id, WebhookId);

/// The states that a release can end.
const STOPPED: [Shown; 3] = [Shown::Held, Shown::Withheld, Shown::Undeliverable];

/// One of these states that an invoice can be in.
fn one_of(states: impl IntoIterator<Item = Shown>) -> impl TypedValueParser<Value = Shown> {
    PossibleValuesParser::new(states.into_iter().map(Shown::as_str))
        .try_map(|name| Shown::parse(&name).ok_or("not a state"))
}
