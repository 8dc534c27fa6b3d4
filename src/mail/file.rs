//! Messages as files instead of mails, for trials and for what picks them up from there.
//!
//! One `.eml` a message and address. Its name hangs on the `Message-ID` and the address alone, so that
//! a repeat overwrites its first copy, and says nothing of either. Who gets it stands in two header
//! lines in front, `Return-Path` and `Delivered-To`. A file under its final name is whole and durable.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage};

use super::outcome::{Failure, check_message};

/// Invoices are for the daemon's user only.
const FILE_MODE: u32 = 0o600;
/// Octets of the digest in a file's name.
const NAME_OCTETS: usize = 16;

/// Writes messages to one directory.
#[derive(Debug)]
pub struct FileTransport {
    directory: PathBuf,
}

impl FileTransport {
    /// `directory` must exist when a connection is opened.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) async fn connect(&self) -> Result<FileConnection, Failure> {
        let metadata = tokio::fs::metadata(&self.directory)
            .await
            .map_err(|error| Failure::io(Stage::Connect, &error))?;
        if !metadata.is_dir() {
            return Err(Failure::silence(
                Stage::Connect,
                "the directory for messages is no directory",
            ));
        }
        Ok(FileConnection { directory: self.directory.clone(), envelope: None })
    }
}

/// Writes messages one after the other.
#[derive(Debug)]
pub struct FileConnection {
    directory: PathBuf,
    envelope: Option<Envelope>,
}

#[derive(Debug)]
struct Envelope {
    from: EmailAddress,
    to: EmailAddress,
}

impl FileConnection {
    pub(super) fn begin(&mut self, from: &EmailAddress, to: &EmailAddress) -> Result<(), Failure> {
        if self.envelope.is_some() {
            return Err(Failure::silence(Stage::Mail, "the message before was not finished"));
        }
        self.envelope = Some(Envelope { from: from.clone(), to: to.clone() });
        Ok(())
    }

    pub(super) fn reset(&mut self) {
        self.envelope = None;
    }

    pub(super) async fn finish(&mut self, message: &[u8]) -> Result<Reply, Failure> {
        let Some(Envelope { from, to }) = self.envelope.take() else {
            return Err(Failure::silence(Stage::Data, "no message was begun"));
        };
        check_message(message).map_err(|fault| Failure::message(Stage::Body, fault.to_string()))?;
        let directory = self.directory.clone();
        let name = file_name(message, &to);
        let mut content = format!("Return-Path: <{from}>\r\nDelivered-To: {to}\r\n").into_bytes();
        content.extend_from_slice(message);
        tokio::task::spawn_blocking(move || write(&directory, &name, &content))
            .await
            .map_err(|_| Failure::silence(Stage::FinalDot, "the file may not have been written"))?
            .map_err(|(stage, error)| Failure::io(stage, &error))?;
        Ok(Reply { code: 250, enhanced: None, text: "written to a file".to_owned() })
    }
}

/// From the renaming on, the file may be there after a fault.
fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), (Stage, io::Error)> {
    let temporary = directory.join(format!(".{name}.part"));
    write_synced(&temporary, content).map_err(|error| (Stage::Body, error))?;
    std::fs::rename(&temporary, directory.join(name))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| (Stage::FinalDot, error))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // What a crash left behind keeps its mode.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(content)?;
    file.sync_all()
}

/// The same for the same message to the same address. Without a `Message-ID` the whole message counts.
fn file_name(message: &[u8], to: &EmailAddress) -> String {
    let identity = message_id(message).unwrap_or(message);
    let mut digest = Sha256::new();
    digest.update(to.as_str());
    digest.update(b"\0");
    digest.update(identity);
    let mut name = String::new();
    for octet in digest.finalize().iter().take(NAME_OCTETS) {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{octet:02x}");
    }
    name.push_str(".eml");
    name
}

/// The value of the `Message-ID` header, on its own line or folded onto the next.
fn message_id(message: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"message-id:";
    let mut offset = 0;
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        if line.trim_ascii().is_empty() {
            return None;
        }
        offset += line.len();
        let Some((name, value)) = line.split_at_checked(NAME.len()) else {
            continue;
        };
        if !name.eq_ignore_ascii_case(NAME) {
            continue;
        }
        let folded = message[offset..]
            .split(|&octet| octet == b'\n')
            .next()
            .filter(|next| next.starts_with(b" ") || next.starts_with(b"\t"))
            .unwrap_or_default();
        return [value, folded].into_iter().map(<[u8]>::trim_ascii).find(|id| !id.is_empty());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: a\r\nMessage-ID: <1@muster.example>\r\n\r\n.text\r\n";

    fn address(raw: &str) -> EmailAddress {
        EmailAddress::parse(raw).unwrap()
    }

    async fn send(directory: &Path, to: &str, message: &[u8]) -> Result<Reply, Failure> {
        let transport = FileTransport::new(directory.to_owned());
        let mut connection = transport.connect().await?;
        connection.begin(&address("rechnung@haus.example"), &address(to))?;
        connection.finish(message).await
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_file_names_its_envelope_and_holds_the_message_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let reply = send(directory.path(), "erika@muster.example", MESSAGE).await;
        assert_eq!(reply.unwrap().code, 250);
        let files = files(directory.path());
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].extension().unwrap(), "eml");
        let content = std::fs::read(&files[0]).unwrap();
        let head =
            b"Return-Path: <rechnung@haus.example>\r\nDelivered-To: erika@muster.example\r\n";
        assert_eq!(content, [head.as_slice(), MESSAGE].concat());
        let mode = std::fs::metadata(&files[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_repeat_overwrites_and_another_address_or_message_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let changed = b"Message-ID:\r\n <1@muster.example>\r\n\r\nlater\r\n";
        let other = b"Message-ID: <2@muster.example>\r\n\r\n.text\r\n";
        for (to, message, expected) in [
            ("a@muster.example", MESSAGE, 1),
            ("a@muster.example", changed, 1),
            ("b@muster.example", MESSAGE, 2),
            ("a@muster.example", other, 3),
        ] {
            send(directory.path(), to, message).await.unwrap();
            assert_eq!(files(directory.path()).len(), expected);
        }
    }

    #[tokio::test]
    async fn the_id_is_read_from_the_header_only() {
        assert_eq!(message_id(b"a: b\r\n\r\nMessage-ID: <1@a.example>\r\n"), None);
        assert_eq!(message_id(b"MESSAGE-id:<1@a.example>"), Some(b"<1@a.example>".as_slice()));
    }

    #[tokio::test]
    async fn a_missing_directory_is_found_before_a_message_is_tried() {
        let directory = tempfile::tempdir().unwrap();
        let failure =
            send(&directory.path().join("none"), "a@muster.example", MESSAGE).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Connect);
    }

    #[tokio::test]
    async fn what_cannot_be_written_has_not_been_sent() {
        let directory = tempfile::tempdir().unwrap();
        let to = address("a@muster.example");
        let part = format!(".{}.part", file_name(MESSAGE, &to));
        std::fs::create_dir(directory.path().join(part)).unwrap();
        let failure = send(directory.path(), to.as_str(), MESSAGE).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Body);
    }

    #[tokio::test]
    async fn a_message_that_no_relay_would_take_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let failure = send(directory.path(), "a@muster.example", b"a: b\n").await.unwrap_err();
        assert_eq!(failure.verdict(), crate::domain::delivery::Verdict::MessageRefused);
        assert!(files(directory.path()).is_empty());
    }
}
